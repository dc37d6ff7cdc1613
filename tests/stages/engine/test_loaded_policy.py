"""A network of one weight, and whose stored weight is in it."""

import pytest
import torch
from linear_resources import PaintingLinear, store_policy
from safetensors.torch import save_file

from stages.disk.files import file_digest, write_json
from stages.disk.policy_state import PolicyState, policy_state, state_digest, write_base
from stages.engine.loaded_policy import LoadedPolicy


@pytest.fixture
def held():
    """As loaded 0.5; a run starts from 0.25."""
    return LoadedPolicy(PaintingLinear(0.5), lambda: {"weight": torch.tensor([[0.25]])})


@pytest.fixture
def base(tmp_path):
    write_base(tmp_path / "base", "the base")
    return tmp_path / "base"


def weight(policy):
    return policy.module.weight.item()


def lose_files(folder):
    for path in folder.glob("*.safetensors"):
        path.unlink()


def test_a_stored_weight_is_read_once_while_it_is_held(held, tmp_path):
    one, two = (store_policy(tmp_path / name, value) for name, value in (("one", 1.0), ("two", 2.0)))
    assert held.policy is held.hold(one)
    assert weight(held.policy) == 1
    lose_files(one)
    assert weight(held.hold(one)) == 1
    assert weight(held.hold(two)) == 2
    with pytest.raises(ValueError, match=r"weights.safetensors is required, got none in .*one"):
        held.hold(one)


def test_after_a_weight_that_could_not_be_read_nothing_is_taken_for_held(held, tmp_path):
    one, lost = store_policy(tmp_path / "one", 1.0), store_policy(tmp_path / "lost", 2.0)
    held.hold(one)
    lose_files(lost)
    with pytest.raises(ValueError, match="is required"):
        held.hold(lost)
    lose_files(one)
    with pytest.raises(ValueError, match="is required"):
        held.hold(one)


def test_the_average_is_another_weight_where_one_is_kept(held, tmp_path):
    one = store_policy(tmp_path / "one", 1.0, average=3.0)
    assert weight(held.hold(one)) == 1
    assert weight(held.hold(one, averaged=True)) == 3
    assert weight(held.hold(one)) == 1
    without = store_policy(tmp_path / "two", 2.0)
    assert weight(held.hold(without, averaged=True)) == 2


def test_the_base_is_what_was_loaded_and_after_others_what_a_run_starts_from(held, base, tmp_path):
    assert weight(held.hold(base)) == 0.5
    held.hold(store_policy(tmp_path / "one", 1.0))
    assert weight(held.hold(base)) == 0.25


def test_weights_are_taken_from_whoever_holds_them(held, tmp_path):
    one = store_policy(tmp_path / "one", 1.0)
    lose_files(one)
    held.take([("weight", torch.tensor([[1.0]]))], one)
    assert weight(held.hold(one)) == 1


def test_what_is_being_trained_is_read_again_until_it_has_a_name(held, tmp_path):
    one = store_policy(tmp_path / "one", 1.0)
    held.hold(one)
    held.changes()
    torch.nn.init.constant_(held.policy.module.weight, 7.0)
    assert weight(held.hold(one)) == 1
    held.changes()
    torch.nn.init.constant_(held.policy.module.weight, 7.0)
    held.is_now(one)
    assert weight(held.hold(one)) == 7


def resealed(folder, tensors):
    """A stored policy with other weights under a seal that fits: anybody can make one."""
    save_file(tensors, folder / "weights.safetensors")
    state = policy_state(folder)
    files = dict(state.files) | {"weights.safetensors": file_digest(folder / "weights.safetensors")}
    write_json(folder / "state.json", vars(PolicyState(state_digest(state.num_steps, files), state.num_steps, files)))
    return folder


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"planted": torch.ones(1, 1), "weight": torch.ones(1, 1)}, "1 left over, as planted"),
        ({"planted": torch.ones(1, 1)}, "1 missing, as weight; 1 left over, as planted"),
        ({"weight": torch.ones(1)}, "1 of another shape, as weight"),
        ({"weight": torch.full((1, 1), float("nan"))}, "Finite weights are required"),
    ],
)
def test_weights_of_other_names_shapes_or_without_a_number_are_refused_and_not_copied(held, tmp_path, tensors, message):
    one, other = store_policy(tmp_path / "one", 1.0), store_policy(tmp_path / "other", 2.0)
    held.hold(one)
    with pytest.raises(ValueError, match=message):
        held.hold(resealed(other, tensors))
    assert weight(held.policy) == 1
    assert weight(held.hold(one)) == 1
