"""The network that is trained: kept from round to round, alone or in shards that this process has all."""

from dataclasses import dataclass

import pytest
import torch
from linear_resources import PaintingLinear, store_policy
from torch import distributed

from g2rpo.distributed.gradients import Replicated, Sharded
from g2rpo.distributed.group import ALONE, ProcessGroup
from g2rpo.policies.protocol import Condition
from g2rpo.trainer import OptimizerSettings
from stages.disk.policy_files import write_policy
from stages.engine.loaded_policy import LoadedPolicy
from stages.engine.trained_policy import Networks, TrainedPolicy

SETTINGS = OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1.0, None)


def network(weight=0.5):
    return LoadedPolicy(PaintingLinear(weight), lambda: {"weight": torch.tensor([[weight]])})


def learning(process_group=ALONE, *, painting=None, apart=None, in_shares=False):
    networks = Networks(lambda: painting, lambda: painting, lambda: apart, torch.float32)
    return TrainedPolicy(networks, process_group, in_shares=in_shares)


def weight(held):
    return held.policy.module.weight.item()


def taken(one, folder):
    """A step along a gradient of 1, stored; the trainer that took it."""
    trainer = one.trainer(folder, SETTINGS)
    one._trained_policy().policy.module.weight.sum().backward()
    trainer.step()
    write_policy(folder.parent / "next", trainer)
    one.trained(folder.parent / "next")
    return trainer


@dataclass(frozen=True)
class Solo(ProcessGroup):
    """One process in the place of two: its group is itself."""

    size: int = 2

    def gathered(self, own):
        return own


@pytest.fixture
def group():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_the_field_is_that_of_the_stored_policy_with_gradient(tmp_path):
    one = learning(painting=network())
    field = one.field(store_policy(tmp_path / "one", 2.0), 4)
    condition, x = Condition({"c": torch.tensor([3.0])}), torch.tensor([[1.0, 0.0, -1.0]])
    velocity = field.with_gradient(x, torch.tensor([0.5]), condition)
    assert velocity.tolist() == [[3.5, 1.5, -0.5]]  # 2 x + 3 / 2
    velocity.square().sum().backward()
    assert field.policy.module.weight.grad.item() == 2 * (3.5 + 0.5)
    assert (field.micro_batch, field.team.process_group) == (4, ALONE)


def test_a_trainer_continues_from_the_weights_and_moments_on_disk(tmp_path):
    """The first step of AdamW is the learning rate; the moments of the gradient 1 are 0.1 and 0.001."""
    taken(learning(painting=network()), store_policy(tmp_path / "one", 2.0))
    again = learning(painting=(held := network())).trainer(tmp_path / "next", SETTINGS)
    assert weight(held) == pytest.approx(1.9)
    assert again.num_steps == 1
    moments = {name: value.item() for name, value in again.state().items()}
    assert moments == pytest.approx({"exp_avg.weight": 0.1, "exp_avg_sq.weight": 0.001}, rel=1e-4)


def test_what_was_trained_is_kept_and_not_read_again(tmp_path):
    one = learning(painting=network())
    trainer = taken(one, store_policy(tmp_path / "one", 2.0))
    for path in (tmp_path / "next").glob("*.safetensors"):
        path.unlink()
    assert one.trainer(tmp_path / "next", SETTINGS) is trainer


def test_a_trainer_whose_policy_was_not_stored_is_not_gone_on_with(tmp_path):
    one, folder = learning(painting=(held := network())), store_policy(tmp_path / "one", 2.0)
    trainer = one.trainer(folder, SETTINGS)
    held.policy.module.weight.sum().backward()
    trainer.step()
    again = one.trainer(folder, SETTINGS)
    assert (again.num_steps, weight(held)) == (0, 2)


def test_alone_there_are_no_shares_and_no_process_to_wait_for(tmp_path):
    one = learning(painting=(held := network()), in_shares=True)
    assert one.field(store_policy(tmp_path / "one", 2.0), 4).policy is held.policy


@pytest.mark.filterwarnings("ignore:`broadcast_buffers` is deprecated:FutureWarning")
def test_copies_average_their_gradients(group, tmp_path):
    one = learning(Solo(), painting=(held := network()))
    field = one.field(store_policy(tmp_path / "one", 2.0), 4)
    assert isinstance(field.team, Replicated)
    assert field.policy is held.policy


@pytest.mark.parametrize("paints", [True, False])
def test_a_network_in_shares_is_another_and_gives_its_weights_to_the_one_that_paints(group, tmp_path, paints):
    painting, apart = network() if paints else None, network()
    one = learning(Solo(), painting=painting, apart=apart, in_shares=True)
    folder = store_policy(tmp_path / "one", 2.0)
    assert isinstance(one.field(folder, 4).team, Sharded)
    assert isinstance(apart.policy.module.weight, distributed.tensor.DTensor)
    taken(one, folder)
    for path in (tmp_path / "next").glob("*.safetensors"):
        path.unlink()
    if paints:
        assert weight(painting) == pytest.approx(1.9)
        painting.hold(tmp_path / "next")  # it knows their policy and reads nothing
