"""The forms of the store's records: what we write has them, and little else."""

import math

import pytest
from manifests import manifest, output

from stages.contract.declared_stages import ROUND_STAGES, STAGES
from stages.disk.files import write_sealed
from stages.disk.records import DigestRecord, ManifestRecord, MetricsRecord, StateRecord, is_record, read_record

SCORE = STAGES["score"]


@pytest.mark.parametrize("stage", ROUND_STAGES, ids=lambda stage: stage.name)
def test_the_manifest_of_every_stage_is_one(stage):
    assert is_record(manifest(stage), ManifestRecord)


@pytest.mark.parametrize(
    "changed",
    [
        {"seconds": float("nan")},
        {"evaluations": -1},
        {"number": "0"},
        {"more": 1},
        {"parameters": {"evaluate": "x"}},
        {"outputs": {"rewards": output("policy")}},
        {"outputs": {"policy": output("rewards")}},
        {"outputs": {"rewards": output("rewards", rows=0)}},
        {"outputs": {"rewards": output("rewards", files={})}},
        {"outputs": {"rewards": output("rewards", files={"part-00000.parquet\n": "0" * 64})}},
        {"outputs": {"rewards": output("rewards", files={"part-00000.parquet": "0" * 64 + "\n"})}},
    ],
)
def test_a_manifest_with_anything_else_is_none(changed):
    assert not is_record(manifest(SCORE) | changed, ManifestRecord)


@pytest.mark.parametrize("value", [None, [], "text", 1, {"digest": "0", "num_steps": -1, "files": {}}])
def test_what_is_no_object_or_has_a_wrong_number_is_no_state(value):
    assert not is_record(value, StateRecord)


def test_a_record_is_read_under_its_seal(tmp_path):
    metrics = {"round": 1.0, "evaluations": 92.0, "cpu_seconds": 0.5}
    write_sealed(tmp_path / "file", metrics)
    assert read_record(tmp_path / "file", MetricsRecord) == metrics
    assert read_record(tmp_path / "file", DigestRecord) is None
    assert read_record(tmp_path / "nothing", MetricsRecord) is None


def test_metrics_have_costs_that_can_be_added_up_and_any_reward_that_can_be_computed():
    costs = {"evaluations": 92.0, "cpu_seconds": 0.5}
    assert is_record(costs | {"reward/judge_a/mean": math.nan, "seconds/score": 0.0}, MetricsRecord)
    for changed in ({"evaluations": math.inf}, {"cpu_seconds": math.nan}, {"seconds/score": -1.0}):
        assert not is_record(costs | changed, MetricsRecord)
    for changed in ({"update/kl": math.inf}, {"update/loss": -3.4e38}):
        assert is_record(costs | changed, MetricsRecord)
    assert not is_record(costs | {"update/loss": -3.5e38}, MetricsRecord)  # which is drawn nowhere
    assert not is_record({"evaluations": 92.0}, MetricsRecord)
