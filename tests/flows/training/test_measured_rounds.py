import itertools
import os
from contextlib import suppress
from types import SimpleNamespace

import pytest
from manifests import manifest, output
from rounds import new_run
from tiny import tiny_params

from flows.observers.observer import Evaluated
from flows.training import measured_rounds
from flows.training.measured_rounds import MeasuredRounds, try_out
from flows.training.session import EXPORTED
from stages.contract.declared_stages import EVALUATE, ROUND_STAGES
from stages.disk.root import store_root
from stages.store.manifest import write_manifest
from stages.store.transfer import link_out


def test_a_round_writes_what_its_outputs_take_together():
    assert MeasuredRounds(1.0, 1.0, 1.0, {"anchors": 3, "policy": 4}, peak_bytes=9).round_bytes == 7


@pytest.fixture
def clock(monkeypatch):
    """Reads, one after another: 100 (begun), 110 and 114 (a stage, the base judged), 130, 141, 150, 160 (rounds)."""
    times = itertools.chain([100.0, 110.0, 114.0, 130.0, 141.0, 150.0, 160.0, 170.0, 172.0])
    monkeypatch.setattr(measured_rounds, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    clock = measured_rounds._Clock()
    yield clock
    assert not list(times)


def test_the_first_round_and_the_first_judging_are_the_start_and_count_in_no_mean(clock, own_store, tmp_path):
    """Rounds take (160 - 130) / 3 = 10 s; the start took 30 s, less a judging of 4 s and a round: 16 s."""
    run, *_ = new_run(tiny_params())
    judged = [Evaluated(number, "tuning", tmp_path / str(number)) for number in (0, 4)]
    clock.stage_started("evaluate", 0)
    clock.evaluated(judged[0])
    for number in range(4):
        clock.round_finished(number, {})
    clock.stage_started("evaluate", 4)
    clock.evaluated(judged[1])
    for size, stage in enumerate(ROUND_STAGES):
        outputs = {name: output(name, bytes=10 + size) for name in stage.outputs}
        write_manifest(run.round_folder(3), stage, manifest(stage, outputs=outputs, peak_bytes=1000 * size))
    write_manifest(judged[1].folder, EVALUATE, manifest(EVALUATE, evaluations=8))
    told = clock.measured(run)
    assert (told.start_seconds, told.round_seconds, told.seconds_an_evaluation) == (16.0, 10.0, 0.25)
    assert told.peak_bytes == 5000
    assert told.output_bytes["prompts"] == 10
    assert told.output_bytes["policy"] == 15
    assert set(told.output_bytes) == {name for stage in ROUND_STAGES for name in stage.outputs}


@pytest.mark.slow
def test_a_trial_runs_elsewhere_also_where_a_finished_run_of_these_parameters_lies_in_outputs(
    made, own_store, tmp_path, monkeypatch, capsys
):
    """No guard ends it, nothing is said, and the store has no more than its caches afterwards."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    link_out(made.run, EXPORTED, 2)  # `dvc pull` would bring it here
    told = try_out(made.with_params("guards.kl.action=stop", "guards.kl.most=1e-12", "guards.time.hours=1e-9"))
    assert min(told.round_seconds, told.seconds_an_evaluation) > 0
    assert told.round_bytes == pytest.approx(
        made.run.metrics()[0]["bytes"], rel=1e-3
    )  # captions are of several lengths
    assert told.peak_bytes > 4_000_000  # the weights of 1 M parameters in fp32
    assert capsys.readouterr().err == ""
    assert sorted(path.name for path in own_store.iterdir()) == ["digests", "embeddings"]


@pytest.mark.parametrize("named", [True, False])
def test_elsewhere_is_a_store_below_the_one_that_is_named_and_has_its_caches(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("G2RPO_HOME", raising=False)
    if named:
        monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "mine"))
    before = store_root()
    with suppress(KeyError), measured_rounds._temporary_store() as folder:
        assert store_root() == folder.resolve()
        assert folder.parent == before
        (store_root() / "digests/known").touch()
        raise KeyError("a measurement that fails")
    assert os.environ.get("G2RPO_HOME") == (str(before) if named else None)
    assert not folder.exists()
    assert (before / "digests/known").is_file()
