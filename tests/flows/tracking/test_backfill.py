"""MLflow built again from the store."""

import pytest
from damage import lose, replace
from handmade import begun
from tracking import images_of, shown, steps_of, values_of

from flows.tracking.backfill import sync, synced
from stages.disk.files import remove
from stages.store.lock import locked


def test_a_run_that_mlflow_lacks_is_logged_once_however_often_it_is_asked_for(tracked, store):
    (line,) = synced(tracked.run.key[:6])
    _, logged = shown(store)
    told = f"run {tracked.run.key}: 2 rounds and 3 evaluations are in MLflow run {logged.info.run_id} at "
    assert line == f"{told}sqlite:///{store / 'mlflow.db'}"
    values = values_of(store)
    assert values["reward/judge_a/mean"] == {1: 0.375, 2: 0.25}
    assert values["held_out/tuning/rule_soft"] == {0: 0.25, 1: 0.75, 2: 0.5}
    assert images_of(store) == [f"held_out_tuning+{number}" for number in range(3)]
    assert logged.info.status == "FINISHED"
    assert synced(None) == [line]
    assert {len(steps) for steps in steps_of(store).values()} == {2, 3}
    assert len(images_of(store)) == 3


@pytest.mark.parametrize(("rounds", "status"), [(2, "FINISHED"), (3, "KILLED")])
def test_a_run_that_lost_mlflow_is_shown_there_as_ended(tracked, store, rounds, status):
    sync(tracked.run, tracked.params)
    tracked.run.remember(tracked.params.with_values({"run.rounds": rounds}))
    client, logged = shown(store)
    client.update_run(logged.info.run_id, status="RUNNING")
    sync(tracked.run, tracked.params)
    assert shown(store)[1].info.status == status


def test_one_damaged_run_does_not_keep_the_others_from_being_logged(tracked, store):
    damaged, _ = begun("run.seed=1")
    replace(damaged.path / "run.json", b"{")
    told = {line.split()[1].rstrip(":"): line for line in synced(None)}
    assert told[damaged.path.name].startswith(f"run {damaged.path.name} could not be logged: {damaged.path}/run.json")
    assert "2 rounds and 3 evaluations" in told[tracked.run.key]
    with pytest.raises(ValueError, match="must be as it was written"):
        synced(damaged.path.name)


def test_a_run_that_lacks_its_own_prompts_is_refused_and_mlflow_does_not_learn_of_it(tracked):
    remove(tracked.run.prompts)
    with pytest.raises(ValueError, match="prompts/train/part-00000.parquet: the run's list of prompts is required"):
        synced(tracked.run.key)
    assert not tracked.client.search_experiments(filter_string="name = 'g2rpo'")


def test_a_run_that_is_held_is_not_logged_beside_its_holder(tracked):
    with locked(tracked.run.path), pytest.raises(ValueError, match="must be free, it is held by process"):
        sync(tracked.run, tracked.params)


def test_a_server_that_is_gone_is_told_before_the_run_is_touched(tracked, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="the MLflow server must answer at http://127.0.0.1:9, got no answer"):
        synced(tracked.run.key)


def test_an_evaluation_that_is_not_whole_is_passed_over(tracked):
    lose(tracked.run.evaluation_folder(1, "tuning") / "evaluate.json")
    replace(tracked.run.evaluation_folder(2, "tuning") / "evaluate.json", b"{")
    assert synced(tracked.run.key)[0].startswith(f"run {tracked.run.key}: 2 rounds and 1 evaluations are in MLflow")
