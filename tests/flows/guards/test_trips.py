"""Guards in real runs of `g2rpo train`: what trips each of them, and what trips none."""

import json
import re

import pytest
from logged_in import ask
from mlflow.tracking import MlflowClient
from tiny import TINY, tables
from typer.testing import CliRunner
from waiting import wait_for

from flows.cli.app import app
from flows.common.endings import GuardStopError
from stages.readings.best_round import best_round
from stages.store.run import Run, stored_runs

TRIPS = {
    "non_finite": ("update.learning_rate=1e9", "run.rounds=3"),
    "exploding": ("update.learning_rate=3e-2", "run.rounds=12", "guards.exploding.times=3.0"),
    "ratio": ("rollout.micro_batch=1", "guards.ratio.gap=1e-9"),  # the last bit of float32
    "reward_collapse": ("update.learning_rate=1e-2", "evaluate.num_prompts=32"),
    "zero_spread": (
        *("score.rewards=[rule_strict]", "integrate.reward_weights={rule_strict: 1.0}"),
        *("guards.zero_spread.frac=0.05", "guards.zero_spread.rounds=2"),
    ),
    "kl": ("update.learning_rate=3e-2", "run.rounds=3", "guards.kl.action=stop"),
    "clip_frac": (
        *("update.learning_rate=1e-2", "update.num_epochs=3"),
        *("guards.clip_frac.action=stop", "guards.clip_frac.most=0.3"),
    ),
    "disk": ("guards.disk.free_gb=1e9",),
    "time": ("guards.time.hours=1e-9",),
}
"""What trips each guard; `diversity` and `reward_hacking` need longer runs."""

QUICK = ("zero_spread",)
"""Of these, the guards that `make test` sees trip in a run; each guard's own test has all of them trip by numbers."""


def train(*overrides):
    sets = [word for override in (*TINY, *overrides) for word in ("--set", override)]
    return CliRunner().invoke(app, ["train", *sets])


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"


@pytest.mark.parametrize(
    "guard", [guard if guard in QUICK else pytest.param(guard, marks=pytest.mark.slow) for guard in TRIPS]
)
def test_a_run_that_it_is_there_for_is_stopped_and_the_same_command_finds_the_same(store, guard):
    done = train(*TRIPS[guard])
    assert isinstance(done.exception, GuardStopError)
    assert f"is stopped by the guard {guard} after round" in str(done.exception)
    assert f"guard {guard}, after round" in done.output
    (run,) = stored_runs()
    before = tables(run.path)
    again = train(*TRIPS[guard])
    assert _without_free_space(again.exception) == _without_free_space(done.exception)
    assert tables(run.path) == before


def _without_free_space(ended):
    """What a guard says, but for the free space of the moment."""
    return re.sub(r"got [\d.]+ GB", "got some GB", str(ended))


@pytest.mark.slow
def test_a_good_run_trips_none_of_them_and_one_that_must_grow_more_diverse_is_stopped(store):
    words = ("run.rounds=21", "evaluate.num_prompts=64", "evaluate.every=7")
    done = train(*words)
    assert done.exit_code == 0
    assert "warning: guard" not in done.output
    told = str(train(*words, "guards.diversity.frac=3.0").exception)
    assert "is stopped by the guard diversity after round 21" in told
    assert "The diversity of a group's pictures has fallen to 0." in told


@pytest.mark.slow
def test_a_guard_that_warns_is_told_once_and_changes_no_table(store):
    words = ("update.learning_rate=3e-2", "run.rounds=4", "evaluate.num_prompts=4")
    done = train(*words)
    assert done.exit_code == 0
    assert done.output.count("warning: guard kl, after round 2 (warn): The KL to the base is") == 1
    (run,) = stored_runs()
    with_warning = tables(run.path)
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    assert "guard kl" in client.get_run(run.links["mlflow_run_id"]).data.tags["g2rpo.guard"]
    run.path.rename(store / "kept")
    again = train(*words, "guards.kl.action=ignore")
    assert "guard kl" not in again.output
    assert tables(run.path) == with_warning


def test_a_stopped_run_exports_its_best_round_and_tells_how_to_go_on(store):
    words = ("run.rounds=3", "update.learning_rate=3e-4", "guards.time.hours=1e-9", "evaluate.choose_by=rule_soft")
    whole = train(*words[:2], words[3])
    assert whole.exit_code == 0
    (run,) = stored_runs()
    best = best_round(run, run.params())
    assert best > 0  # or what follows says nothing
    assert best_round(run, run.params(), below=best) < best  # where a rollback goes that has tripped there
    told = str(train(*words).exception)
    folder = store / "exports" / f"{run.key[:8]}-r{best:04d}"
    assert (folder / "README.md").is_file()
    assert f"Its best round by rule_soft on the tuning captions is {best}, exported to {folder}" in told
    assert "On the test captions, base -> best round: judge_a" in told
    assert "--set guards.time.action=warn" in told
    assert train(*words, "guards.time.action=warn").exit_code == 0


def test_a_rollback_goes_on_from_the_best_round_with_half_the_rate_until_there_have_been_enough(store):
    words = (
        *("run.rounds=3", "update.learning_rate=2e-2", "evaluate.num_prompts=32"),
        *("guards.reward_collapse.action=rollback", "guards.max_rollbacks=2"),
    )
    done = train(*words)
    assert isinstance(done.exception, GuardStopError)
    assert "guards.max_rollbacks is reached: 2" in str(done.exception)
    generations = sorted(stored_runs(), key=lambda run: (run.parent or {"generation": 0})["generation"])
    assert [run.parent and run.parent["generation"] for run in generations] == [None, 1, 2]
    assert [run.params().update.halved_after for run in generations] == [(), (0,), (0, 0)]
    first, second, third = generations
    assert second.parent == {"key": first.key, "round": 0, "reason": "reward_collapse", "generation": 1}
    rates = [run.metrics()[0]["update/learning_rate"] for run in generations]
    assert rates == [2e-2, 1e-2, 5e-3]
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    shown = client.get_run(third.links["mlflow_run_id"]).data.tags
    assert shown["mlflow.parentRunId"] == second.links["mlflow_run_id"]
    before = {run.key: tables(run.path) for run in generations}
    assert str(train(*words).exception) == str(done.exception)  # the parent's command leads to the last child
    assert {run.key: tables(run.path) for run in stored_runs()} == before


@pytest.mark.slow
def test_under_prefect_a_stopped_run_is_a_failed_flow_run_and_an_event(g2rpo, prefect_api):
    done = g2rpo(*g2rpo.train_command("guards.time.hours=1e-9", "run.seed=5")[3:], **prefect_api)
    assert done.returncode == 3, done.stderr
    assert "is stopped by the guard time after round 1" in done.stderr.splitlines()[-7]
    run = Run(g2rpo.run_folder())
    flow_run = ask(prefect_api, f"flow_runs/{run.links['prefect_flow_run_id']}")
    assert flow_run["state"]["type"] == "FAILED"
    assert "is stopped by the guard time" in flow_run["state"]["message"]

    def events():
        asked = {"filter": {"event": {"name": ["g2rpo.guard.tripped"]}}}
        return ask(prefect_api, "events/filter", asked)["events"]

    wait_for(events)
    (event,) = events()
    assert event["resource"]["prefect.resource.id"] == f"g2rpo.run.{run.key}"
    assert event["payload"]["guard"] == "time"


def shipped(*overrides):
    return CliRunner().invoke(app, ["train", *[word for override in overrides for word in ("--set", override)]])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 701, 705])
def test_at_twice_the_shipped_rate_the_best_round_is_exported_and_at_the_shipped_one_nothing_trips(store, seed):
    caught = shipped(f"run.seed={seed}", "update.learning_rate=3e-4")
    assert "is stopped by the guard reward_hacking after round" in str(caught.exception)
    assert "the policy exploits the reward" in str(caught.exception)
    (run,) = stored_runs()
    best = best_round(run, run.params())
    assert 0 < best < run.num_finished
    assert (store / "exports" / f"{run.key[:8]}-r{best:04d}" / "transformer").is_dir()
    metrics = [json.loads(path.read_text()) for path in sorted((run.path / "metrics").iterdir())]
    assert metrics[-1]["reward/judge_a/mean"] > metrics[0]["reward/judge_a/mean"]
    good = shipped(f"run.seed={seed}")
    assert good.exit_code == 0
    assert "warning: guard" not in good.output
