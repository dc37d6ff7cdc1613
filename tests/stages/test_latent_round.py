"""Rounds of the latent models: adapters, residency, and rewards that fail."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from damage import linked_copy
from random_bases import tiny_latent_params
from rounds import first_round, new_run, run_round
from tiny import tables

from g2rpo.rewards.protocol import RewardError
from stages.contract.declared_stages import EVALUATE, STAGES
from stages.disk.policy_state import policy_state
from stages.disk.tables import read_table
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.readings.budget import round_evaluations
from stages.readings.metrics import round_metrics
from stages.store.fingerprint import Fingerprint
from stages.store.run import Run

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def done_once(tmp_path_factory):
    """A run of the small FLUX.1 whose first round is done, and the process that did it; no test may change them."""
    return first_round(tmp_path_factory.mktemp("latent"), tiny_latent_params())


@pytest.fixture
def done(done_once, store):
    """A copy of that run in the test's own store, and that process: it finds out what it holds."""
    run, params, resources = done_once
    return Run(linked_copy(run.path, store / "runs" / run.key)), params, resources


slow = pytest.mark.slow
"""The same with the other family."""


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("flux1", "policy.lora.rank=4"),
        ("sd3.5", "policy.lora=null"),
        ("flux1", "resources.quantise=int8"),
        pytest.param("sd3.5", "policy.lora.rank=4", marks=slow),
        pytest.param("flux1", "policy.lora=null", marks=slow),
        pytest.param("sd3.5", "resources.quantise=int8", marks=slow),
    ],
)
def test_a_round_continues_from_disk_as_in_one_process(family, change, tmp_path):
    run, params, resources = new_run(tiny_latent_params(family, change))
    for number in range(2):
        run_round(run, params, resources, number)
    run_stage(run, EVALUATE, 2, params, resources)
    again = Run(linked_copy(run.path, tmp_path / "again"))
    shutil.rmtree(again.round_folder(1))
    shutil.rmtree(again.evaluation_folder(2, params.evaluate.split))
    run_round(again, params, LoadedModels(params), 1)
    run_stage(again, EVALUATE, 2, params, LoadedModels(params))
    assert tables(again.path) == tables(run.path)


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
    guided = {d.stage: d.manifest["evaluations"] for d in run_round(run, params, resources)}
    charged = read_table(run.round_folder(0) / "completions")["evaluations"].to_pylist()
    assert sum(charged) == guided["complete"]
    assert round_evaluations(params, 0) == sum(guided.values())
    run, params, resources = new_run(tiny_latent_params("sd3.5", "policy.guidance=1"))
    plain = {d.stage: d.manifest["evaluations"] for d in run_round(run, params, resources)}
    assert guided["rollout"] == 2 * plain["rollout"] > 0
    assert guided["complete"] == 2 * plain["complete"]
    assert guided["update"] == 2 * plain["update"]
    assert round_evaluations(params, 0) == sum(plain.values())


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
    ("row", "message"),
    [
        (1, r"Reward hps failed at prompt train-\d+-000, window 0, branch 0, granularity 2: the server is gone"),
        (
            None,
            r"Reward hps failed at prompt train-\d+-000, window 0, branch 0, granularity 1 to prompt .*: the server",
        ),
    ],
)
def test_a_scorer_that_fails_stops_the_stage_with_its_name_prompt_and_branch(done, monkeypatch, row, message):
    run, params, resources = done
    monkeypatch.setitem(resources._rewards, "hps", Failing(row))
    with pytest.raises(ValueError, match=message):
        run_stage(run, STAGES["score"], 0, params, resources, force=True)
    with pytest.raises(ValueError, match=r"Reward hps failed at prompt tuning-\d+-000"):
        run_stage(run, EVALUATE, 1, params, resources)


def test_a_fault_that_no_reward_foresaw_is_reported_with_its_pictures_too(done, monkeypatch):
    run, params, resources = done
    broken = SimpleNamespace(name="hps", module=None, score=lambda images, texts: 1 / 0)
    monkeypatch.setitem(resources._rewards, "hps", broken)
    with pytest.raises(ValueError, match=r"Reward hps failed at prompt train-.* division by zero"):
        run_stage(run, STAGES["score"], 0, params, resources, force=True)


def test_the_models_own_shift_gives_the_schedule():
    resources = LoadedModels(tiny_latent_params("sd3.5"))
    fixed = LoadedModels(tiny_latent_params("sd3.5", "rollout.shift=3"))
    assert torch.equal(resources.sigmas(4), fixed.sigmas(4))
    assert not torch.equal(resources.sigmas(4), LoadedModels(tiny_latent_params("sd3.5", "rollout.shift=2")).sigmas(4))
