"""The models of a process: loaded at their first use, once, and on the device while they are needed."""

import pytest
import torch
from linear_resources import SIGMAS
from random_bases import tiny_latent_params
from tiny import tiny_params

from g2rpo.distributed.group import ProcessGroup
from g2rpo.trainer import OptimizerSettings, Trainer
from stages.contract.declared_stages import STAGES
from stages.contract.job import Job
from stages.disk.policy_files import write_policy
from stages.disk.policy_state import write_base
from stages.disk.tables import read_table
from stages.engine.loaded_models import LoadedModels

TEXTS = ["a red circle", "two blue squares"]
SHARES = ("placement.runner=ray", "placement.num_runners=2", "placement.gpus_per_runner=0", "placement.parallel=fsdp")


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Folders of the base and of a policy whose every weight is higher by 0.01, its average by 0.02."""
    folder = tmp_path_factory.mktemp("policies")
    write_base(folder / "base", "the base")
    network = LoadedModels(tiny_params()).policy(folder / "base").module
    add(network, 0.02)
    trainer = Trainer(network, OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1.0, 0.5))
    add(network, -0.01)
    write_policy(folder / "trained", trainer)
    return folder


@pytest.fixture(scope="module")
def resources():
    """Models of the shapes world; all weights are trained."""
    return LoadedModels(tiny_params())


@pytest.fixture
def latent(tmp_path):
    """Of a small FLUX.1 with an adapter, and a folder of its base."""
    write_base(tmp_path / "latent", "the base")

    def make(*overrides):
        return LoadedModels(tiny_latent_params("flux1", *overrides)), tmp_path / "latent"

    return make


@torch.no_grad()
def add(network, value):
    for parameter in network.parameters():
        parameter.add_(value)


def weights(policy):
    return {name: parameter.detach().clone() for name, parameter in policy.module.named_parameters()}


def above(policy, base):
    """By how much each weight is above the base's."""
    return {round((held - base[name]).mean().item(), 4) for name, held in weights(policy).items()}


def test_the_schedule_has_the_shift_of_params_or_the_models_own(resources):
    torch.testing.assert_close(resources.sigmas(4), torch.tensor(SIGMAS, dtype=torch.float64))
    even, own = (LoadedModels(tiny_params(f"rollout.shift={shift}")) for shift in ("1", "model"))
    assert even.sigmas(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert torch.equal(own.sigmas(4), resources.sigmas(4))  # 2 in the shapes world


def test_texts_have_a_row_of_condition_each_and_where_that_costs_nothing_none_is_kept(resources, store):
    condition = resources.condition(TEXTS)
    assert {name: tensor.shape for name, tensor in condition.tensors.items()} == {
        "prompt_embeds": (2, 8, 48),
        "pooled_prompt_embeds": (2, 48),
    }
    assert resources.encode(TEXTS) == 0
    assert not store.exists()


def test_embeddings_that_cost_are_kept_apart_by_what_changes_them(latent, store):
    for expected, overrides in ((1, ()), (0, ()), (1, ("policy.max_sequence_length=32",))):
        assert latent(*overrides)[0].encode(["a red fox"]) == expected
    assert len(list((store / "embeddings").iterdir())) == 2


def test_the_network_holds_the_weights_of_the_requested_policy(resources, policies):
    base = weights(resources.policy(policies / "base"))
    assert above(resources.policy(policies / "trained"), base) == {0.01}
    assert above(resources.policy(policies / "trained", averaged=True), base) == {0.02}
    assert above(resources.policy(policies / "base"), base) == {0}  # which was not on disk


def test_a_field_is_that_of_the_policy_in_its_micro_batches_and_dtype(policies):
    resources = LoadedModels(tiny_params("resources.dtype=bfloat16"))
    field = resources.field(policies / "trained", 5, averaged=True)
    assert (field.micro_batch, field.dtype, field.base) == (5, torch.bfloat16, False)
    assert field.policy is resources.policy(policies / "trained", averaged=True) is resources.decoder()


def test_the_base_of_a_policy_of_which_all_is_trained_is_a_network_of_its_own_that_is_not(resources, policies):
    base = weights(resources.policy(policies / "base"))
    field = resources.base_field(7)
    assert above(resources.policy(policies / "trained"), base) == {0.01}
    assert above(field.policy, base) == {0}
    assert not any(parameter.requires_grad for parameter in field.policy.module.parameters())
    assert resources.base_field(7).policy is field.policy
    assert (field.micro_batch, field.base) == (7, False)


def test_the_base_of_an_adapter_is_its_own_network_with_the_adapter_off(latent):
    resources, folder = latent()
    field = resources.base_field(2)
    assert field.base
    assert field.policy is resources.policy(folder)


def test_the_base_after_others_is_an_adapters_first_weights(latent, tmp_path):
    resources, base = latent()
    first = weights(resources.policy(base))
    network = resources.policy(base).module
    trainer = Trainer(network, OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1.0, None))
    write_policy(tmp_path / "trained", trainer)
    resources.policy(tmp_path / "trained")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0 if parameter.requires_grad else 0.0)
    held = weights(resources.policy(base))
    assert all(torch.equal(held[name], first[name]) for name in first)


def test_a_sharded_network_is_another_than_the_one_that_samples(policies):
    resources = LoadedModels(tiny_params(*SHARES))
    apart, painting = resources._load_for_shards(), resources.policy(policies / "base")
    assert apart.policy is not painting
    assert above(apart.hold(policies / "trained"), weights(painting)) == {0.01}
    assert all(parameter.requires_grad for parameter in apart.policy.module.parameters())


def test_it_learns_alone_until_it_is_given_a_world(resources, policies):
    assert resources.learning.process_group == ProcessGroup(0, 1)
    resources.learn_with(ProcessGroup(1, 3))
    assert resources.learning.process_group == ProcessGroup(1, 3)
    resources.learn_with(ProcessGroup())
    assert resources.learning.field(policies / "trained", 4).policy is resources.policy(policies / "trained")


def test_a_reward_is_loaded_once(resources):
    assert resources.reward("judge_a") is resources.reward("judge_a")
    assert resources.reward("judge_b").name == "judge_b"


def test_a_stage_is_done_here_and_what_it_took_is_reported(resources, tmp_path):
    job = Job(tiny_params(), 0, {}, {"prompts": tmp_path / "prompts"}, "made")
    spent = resources.do(STAGES["prompts"], job)
    assert read_table(tmp_path / "prompts").num_rows == 4
    assert spent.cpu_seconds > 0
    assert spent.peak_bytes > 50e6


def test_offloaded_models_lie_on_the_device_only_while_they_are_needed(latent, monkeypatch):
    """Without a second device the moves are watched, not made."""
    resources, base = latent("resources.between_stages=offload")
    policy, moves, hps = resources.policy(base), [], resources.reward("hps")
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: moves.append((module, str(device))))
    networks = {policy.module: "network", policy.decoder: "decoder", hps.module: "rewards"}
    for stage, away in (
        ("score", {"network"}),
        ("update", {"decoder", "rewards"}),
        ("integrate", set(networks.values())),
    ):
        moves.clear()
        resources.device = "the device"
        resources.need(*STAGES[stage].models)
        assert {networks[module] for module, device in moves if device == "cpu"} == away
        assert {networks[module] for module, device in moves if device == "the device"} == set(networks.values()) - away
        assert [device for _, device in moves] == sorted(device for _, device in moves)  # first away, then in


def test_models_that_are_kept_are_not_moved(resources, policies, monkeypatch):
    resources.policy(policies / "base")
    monkeypatch.setattr(torch.nn.Module, "to", lambda *_: pytest.fail("a model was moved"))
    resources.need("rewards")


def test_what_is_loaded_in_a_later_stage_finds_room_and_goes_again(latent, monkeypatch):
    """A run that resumes at `score` has the rewards on the device when it loads the network for its decoder."""
    resources, _ = latent("resources.between_stages=offload")
    resources.need(*STAGES["score"].models)
    hps, policy, moves = resources.reward("hps").module, resources._load_base(), []
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: moves.append((module, str(device))))
    monkeypatch.setattr(resources, "_load_base", lambda: moves.append("loaded") or policy)
    resources.device = "the device"
    assert resources.decoder() is policy
    assert moves[:2] == [(hps, "cpu"), "loaded"]
    assert set(moves[2:]) == {(policy.module, "cpu"), (policy.decoder, "the device"), (hps, "the device")}


def test_processes_that_train_shards_do_not_need_the_network_that_samples():
    resources = LoadedModels(tiny_params(*SHARES))
    for stage, needed in (("update", ("base",)), ("rollout", ("network",))):
        resources.need(*STAGES[stage].models)
        assert resources._needed == needed
