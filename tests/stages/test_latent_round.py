"""Rounds of the latent models: adapters, residency, and rewards that fail."""

from types import SimpleNamespace

import pytest
import torch
from random_bases import tiny_latent_params
from rounds import new_run, run_round
from tiny import tables

from g2rpo.rewards.protocol import RewardError
from stages.contract.declared_stages import EVALUATE, STAGES
from stages.disk.policy_state import policy_state
from stages.disk.tables import read_table
from stages.engine.execute import run_stage
from stages.engine.loaded_models import Resources
from stages.readings.budget import round_evaluations
from stages.readings.metrics import round_metrics
from stages.store.fingerprint import Fingerprint

FAMILIES = ["flux1", "sd3.5"]


@pytest.fixture
def done():
    run, params, resources = new_run(tiny_latent_params())
    run_round(run, params, resources)
    return run, params, resources


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", ["policy.lora.rank=4", "policy.lora=null", "resources.quantise=int8"])
def test_a_round_goes_on_from_disk_as_in_one_process(family, change, monkeypatch, tmp_path):
    run, params, resources = new_run(tiny_latent_params(family, change))
    for number in range(2):
        run_round(run, params, resources, number)
    run_stage(run, EVALUATE, 2, params, resources)
    straight = tables(run.path)
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "again"))
    again, _, _ = new_run(tiny_latent_params(family, change))
    for number in range(2):
        run_round(again, params, Resources(params), number)
    run_stage(again, EVALUATE, 2, params, Resources(params))
    assert tables(again.path) == straight


def test_only_the_adapter_is_stored(done):
    run, _, resources = done
    folder = run.policy_folder(1)
    stored = sum((folder / name).stat().st_size for name in policy_state(folder).files)
    adapter = [p for p in resources.policy(folder).module.parameters() if p.requires_grad]
    assert stored < 5 * 4 * sum(p.numel() for p in adapter) + 100_000
    assert len(adapter) < 0.5 * len(list(resources.policy(folder).module.parameters()))


def test_the_base_for_the_kl_is_the_adapter_switched_off_and_not_a_second_copy(done):
    run, _, resources = done
    field = resources.base_field(2)
    assert field.policy is resources.policy(run.policy_folder(1))
    assert resources._base is None
    texts = ["a red fox"]
    x = torch.randn(1, *field.policy.latent_shape, generator=torch.Generator().manual_seed(0))
    rows, sigma = torch.tensor([0]), torch.tensor([0.5])
    of_base = resources.field(run.policy_folder(0), 2)(x, sigma, resources.condition(texts), rows)
    resources.policy(run.policy_folder(1))
    assert torch.equal(resources.base_field(2)(x, sigma, resources.condition(texts), rows), of_base)
    moved = resources.field(run.policy_folder(1), 2)(x, sigma, resources.condition(texts), rows)
    assert not torch.equal(moved, of_base)


def test_kl_is_zero_at_the_first_step_and_not_after_it(done):
    run, params, resources = done
    assert read_table(run.round_folder(0) / "updates")["kl"].to_pylist() == [0.0]
    run_round(run, params, resources, number=1)
    assert read_table(run.round_folder(1) / "updates")["kl"].to_pylist()[0] > 0


def test_guidance_counts_as_two_evaluations():
    run, params, resources = new_run(tiny_latent_params("sd3.5"))
    guided_run = run
    guided = {d.stage: d.manifest["evaluations"] for d in run_round(run, params, resources)}
    run, params, resources = new_run(tiny_latent_params("sd3.5", "policy.guidance=1"))
    plain = {d.stage: d.manifest["evaluations"] for d in run_round(run, params, resources)}
    assert guided["rollout"] == 2 * plain["rollout"] > 0
    assert guided["complete"] == 2 * plain["complete"]
    assert guided["update"] == 2 * plain["update"]
    assert round_evaluations(params, 0) == sum(plain.values())
    assert round_evaluations(tiny_latent_params("sd3.5"), 0) == sum(guided.values())
    charged = read_table(guided_run.round_folder(0) / "completions")["evaluations"].to_pylist()
    assert sum(charged) == guided["complete"]


def test_offloaded_models_lie_on_the_device_only_while_they_are_needed(done, monkeypatch):
    """Without a second device the moves are watched, not made."""
    run, params, _ = done
    offloading = params.model_copy(
        update={"resources": params.resources.model_copy(update={"between_stages": "offload"})}
    )
    resources = Resources(offloading)
    policy = resources.policy(run.policy_folder(1))
    moves, hps = [], resources.reward("hps")
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


def test_offloading_changes_no_number(done, monkeypatch, tmp_path):
    run, _, _ = done
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "offloaded"))
    other, params, resources = new_run(tiny_latent_params("flux1", "resources.between_stages=offload"))
    run_round(other, params, resources)
    assert other.key == run.key
    assert tables(other.round_folder(0)) == tables(run.round_folder(0))


def test_quantised_weights_make_another_run():
    values = [Fingerprint.of(tiny_latent_params("flux1", *more), "cpu") for more in ((), ("resources.quantise=int8",))]
    assert values[0].differences(values[1]) == ["resources.quantise: None, got int8"]


def test_what_is_loaded_in_a_later_stage_finds_room_and_goes_again(monkeypatch):
    """A run that goes on at `score` has the rewards on the device when it loads the network for its decoder."""
    params = tiny_latent_params("flux1", "resources.between_stages=offload")
    resources = Resources(params)
    resources.need(*STAGES["score"].models)
    hps, policy, moves = resources.reward("hps").module, resources._load_base(), []
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: moves.append((module, str(device))))
    monkeypatch.setattr(resources, "_load_base", lambda: moves.append("loaded") or policy)
    resources.device = "the device"
    assert resources.decoder() is policy
    assert moves[:2] == [(hps, "cpu"), "loaded"]
    assert set(moves[2:]) == {(policy.module, "cpu"), (policy.decoder, "the device"), (hps, "the device")}


def test_the_peak_of_memory_is_logged_for_each_stage(done):
    run, _, _ = done
    metrics = round_metrics(run, 0)
    peaks = {name: value for name, value in metrics.items() if name.startswith("peak_bytes/")}
    assert peaks.keys() >= {"peak_bytes/rollout", "peak_bytes/score", "peak_bytes/update"}
    assert all(value > 50e6 for value in peaks.values())


class Failing:
    name, module = "hps", None

    def __init__(self, row):
        self.row = row

    def score(self, images, texts):
        raise RewardError("the server is gone", row=self.row)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (1, r"Reward hps failed at prompt train-\d+-000, window 0, branch 0, granularity 2: the server is gone"),
        (
            None,
            r"Reward hps failed at prompt train-\d+-000, window 0, branch 0, granularity 1 to prompt .*: the server",
        ),
    ],
)
def test_a_scorer_that_fails_stops_the_stage_with_its_name_prompt_and_branch(done, row, said):
    run, params, resources = done
    resources._rewards["hps"] = Failing(row)
    with pytest.raises(ValueError, match=said):
        run_stage(run, STAGES["score"], 0, params, resources, force=True)
    with pytest.raises(ValueError, match=r"Reward hps failed at prompt tuning-\d+-000"):
        run_stage(run, EVALUATE, 1, params, resources)


def test_a_fault_that_no_reward_foresaw_is_told_with_its_pictures_too(done):
    run, params, resources = done
    resources._rewards["hps"] = SimpleNamespace(name="hps", module=None, score=lambda images, texts: 1 / 0)
    with pytest.raises(ValueError, match=r"Reward hps failed at prompt train-.* division by zero"):
        run_stage(run, STAGES["score"], 0, params, resources, force=True)


def test_the_models_own_shift_gives_the_schedule():
    resources = Resources(tiny_latent_params("sd3.5"))
    fixed = Resources(tiny_latent_params("sd3.5", "rollout.shift=3"))
    assert torch.equal(resources.sigmas(4), fixed.sigmas(4))
    assert not torch.equal(resources.sigmas(4), Resources(tiny_latent_params("sd3.5", "rollout.shift=2")).sigmas(4))
