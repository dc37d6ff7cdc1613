"""What MLflow is told of a run, in a real database and without a server."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from damage import edit
from handmade import TEXTS, begun, finish, judge
from mlflow.tracking import MlflowClient
from tracking import images_of, shown, steps_of, values_of

from flows.guards.finding import Finding
from flows.observers.observer import Evaluated
from flows.tracking.observer import MlflowObserver


def observer_of(tracked):
    observer = MlflowObserver(tracked.params)
    observer.show(tracked.run)
    return observer


def judged(tracked, number):
    return Evaluated(number, "tuning", tracked.run.evaluation_folder(number, "tuning"))


def runs_of(client):
    return client.search_runs([client.get_experiment_by_name("g2rpo").experiment_id])


def artifacts_of(store, folder):
    client, run = shown(store)
    return [Path(artifact.path).name for artifact in client.list_artifacts(run.info.run_id, folder)]


def test_a_run_is_shown_with_its_parameters_tags_prompts_and_finished_rounds(tracked, store):
    tracked.run.begin_session({"git_commit": "c0ffee"})
    observer_of(tracked)
    _, run = shown(store)
    assert run.info.run_name == f"g2rpo-{tracked.run.key[:8]}"
    assert run.info.status == "FINISHED"  # nobody holds it
    assert (run.data.params["rollout.group_size"], run.data.params["complete.granularities"]) == ("3", "[1, 2]")
    assert run.data.params.keys() == tracked.run.fingerprint.values.keys()
    assert run.data.tags["g2rpo.run_key"] == tracked.run.key
    assert float(run.data.tags["g2rpo.run_made"]) == pytest.approx(tracked.run.about["created_at"], abs=1e-3)
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert f"g2rpo train --run {tracked.run.key}" in run.data.tags["mlflow.note.content"]
    assert sorted(given.dataset.name for given in run.inputs.dataset_inputs) == [
        f"prompts/{split}" for split in ("test", "train", "tuning")
    ]
    uri = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (uri / "params.yaml").read_text() == (tracked.run.path / "params.yaml").read_text()
    assert values_of(store)["reward/judge_a/mean"] == {1: 0.375, 2: 0.25}
    assert set(run.data.metrics) == set(tracked.run.metrics()[0])


def test_an_experiment_is_made_once_with_its_page_and_keeps_files_in_the_store(tracked, store):
    observer_of(tracked)
    experiment = tracked.client.get_experiment_by_name("g2rpo")
    assert experiment.artifact_location == (store / "mlartifacts").as_uri()
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert f"#/experiments/{experiment.experiment_id}/runs" in experiment.tags["mlflow.note.content"]
    assert "tags.`rounds`" in json.loads(experiment.tags["mlflow.sharedViewState.g2rpo"])["selectedColumns"]
    other, params = begun("run.seed=1")
    MlflowObserver(params).show(other)
    assert {run.info.experiment_id for run in runs_of(tracked.client)} == {experiment.experiment_id}
    assert len(runs_of(tracked.client)) == 2


def test_an_experiment_that_another_process_makes_meanwhile_is_taken(tracked, monkeypatch):
    made, ask, answers = tracked.client.create_experiment("g2rpo"), MlflowClient.get_experiment_by_name, [None]
    monkeypatch.setattr(
        MlflowClient,
        "get_experiment_by_name",
        lambda client, name: answers.pop() if answers else ask(client, name),
    )
    observer_of(tracked)
    assert answers == []
    assert [run.info.experiment_id for run in runs_of(tracked.client)] == [made]


def test_a_run_that_goes_on_is_logged_on_under_the_same_run_and_no_step_twice(tracked, store):
    first = observer_of(tracked)
    finish(tracked.run, {"reward/judge_a/mean": 0.875})
    second = observer_of(tracked)
    assert second.run_id == first.run_id
    second.round_finished(2, tracked.run.metrics()[2])
    second.round_finished(3, {"round": 4.0, "reward/judge_a/mean": 0.5})
    assert steps_of(store)["reward/judge_a/mean"] == [1, 2, 3, 4]
    assert values_of(store)["round"] == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}


def test_parameters_that_a_killed_process_did_not_get_to_log_are_logged_by_the_next(tracked, store):
    about = tracked.run.about
    tags = {"g2rpo.run_key": about["key"], "g2rpo.run_made": f"{about['created_at']:.3f}"}
    begun_there = tracked.client.create_run(tracked.client.create_experiment("g2rpo"), tags=tags)
    tracked.client.log_param(begun_there.info.run_id, "run.seed", "0")
    assert observer_of(tracked).run_id == begun_there.info.run_id
    assert shown(store)[1].data.params.keys() == tracked.run.fingerprint.values.keys()


def test_a_run_of_the_same_key_that_was_made_anew_is_another(tracked):
    first = observer_of(tracked).run_id
    edit(tracked.run.path / "run.json", lambda about: about.update(created_at=about["created_at"] + 60))
    assert observer_of(tracked).run_id != first
    assert [run.data.tags["g2rpo.run_key"] for run in runs_of(tracked.client)] == [tracked.run.key] * 2


def test_an_evaluation_is_logged_once_as_means_pictures_and_a_table_of_its_prompts(tracked, store):
    for observer in (observer_of(tracked), observer_of(tracked)):
        for number in (0, 0, 2):
            observer.evaluated(judged(tracked, number))
    assert values_of(store)["held_out/tuning/rule_soft"] == {0: 0.25, 2: 0.5}
    assert steps_of(store)["held_out/tuning/judge_b"] == [0, 2]
    assert images_of(store) == ["held_out_tuning+0", "held_out_tuning+2"]
    assert artifacts_of(store, "evaluations") == ["tuning-r0000.json", "tuning-r0002.json"]
    root = Path(shown(store)[1].info.artifact_uri.removeprefix("file://"))
    table = json.loads((root / "evaluations/tuning-r0002.json").read_text())
    assert table["columns"] == ["text", "judge_a", "judge_b", "rule_soft", "rule_strict", "prompt_id", "num_steps"]
    assert table["data"] == [[TEXTS[0], 0.0, 0.0, 0.5, 0.0, "tuning-0", 4]]


def test_what_a_killed_process_logged_of_an_evaluation_without_its_means_is_replaced(tracked, store):
    observer_of(tracked).evaluated(judged(tracked, 2))
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        for table in ("metrics", "latest_metrics"):
            database.execute(f"delete from {table} where key like 'held_out/%'")
    observer_of(tracked).evaluated(judged(tracked, 2))
    assert values_of(store)["held_out/tuning/rule_soft"] == {2: 0.5}
    assert images_of(store) == ["held_out_tuning+2"]
    root = Path(shown(store)[1].info.artifact_uri.removeprefix("file://"))
    assert len(json.loads((root / "evaluations/tuning-r0002.json").read_text())["data"]) == 1


def test_a_watched_run_is_shown_as_going_on_until_it_ends_in_one_of_four_ways(tracked, store):
    tracked.run.begin_session({})
    observer = MlflowObserver(tracked.params)
    observer.watch(tracked.run, 5)
    client, run = shown(store)
    assert (run.info.status, run.data.tags["rounds"]) == ("RUNNING", "5")
    assert tracked.run.links == {"mlflow_run_id": run.info.run_id}  # and no page, which a file does not have
    observer.evaluated(judged(tracked, 0))
    for ending, status in {
        "finished": "FINISHED",
        "failed": "FAILED",
        "stopped": "KILLED",
        "guarded": "KILLED",
    }.items():
        client.update_run(run.info.run_id, status="RUNNING")
        observer.close(ending)
        assert shown(store)[1].info.status == status


@pytest.mark.parametrize(
    ("status", "rounds", "then"), [("RUNNING", 2, "FINISHED"), ("RUNNING", 3, "KILLED"), ("FAILED", 2, "FAILED")]
)
def test_a_run_that_nobody_holds_does_not_go_on_being_shown_as_going_on(tracked, store, status, rounds, then):
    observer = observer_of(tracked)
    tracked.run.remember(tracked.params.with_values({"run.rounds": rounds}))
    tracked.client.update_run(observer.run_id, status=status)
    observer.settle(tracked.run)
    assert shown(store)[1].info.status == then


def test_a_guards_finding_is_a_tag(tracked, store):
    observer_of(tracked).guarded(Finding("kl", 2, "The policy is far away.", "warn"))
    assert shown(store)[1].data.tags["g2rpo.guard"] == "guard kl, after round 2 (warn): The policy is far away."


def test_a_server_is_linked_to_and_its_pictures_of_the_base_and_of_the_policy_judged_last(tracked):
    tracked.run.begin_session({})
    observer = observer_of(tracked)
    observer.evaluated(judged(tracked, 0))
    observer._link_pages(tracked.run, "http://judge:5000/")
    experiment = tracked.client.get_experiment_by_name("g2rpo").experiment_id
    assert tracked.run.links["mlflow_url"] == f"http://judge:5000/#/experiments/{experiment}/runs/{observer.run_id}"
    before = tracked.run.links["mlflow_picture_before"]
    assert before.startswith("http://judge:5000/get-artifact?path=images%2Fheld_out_tuning%2Bstep%2B0%2B")
    assert before.endswith(f".png&run_uuid={observer.run_id}")
    assert "mlflow_picture_after" not in tracked.run.links
    for number in (1, 2):
        observer.evaluated(judged(tracked, number))
    observer._link_pages(tracked.run, "http://judge:5000")
    assert "%2Bstep%2B2%2B" in tracked.run.links["mlflow_picture_after"]
    assert tracked.run.links["mlflow_picture_before"] == before


def test_the_final_evaluation_is_no_picture_of_a_link(tracked):
    tracked.run.begin_session({})
    observer = observer_of(tracked)
    folder = judge(tracked.run, tracked.params, 2, "test", rule_soft=[0.5])
    observer.evaluated(Evaluated(2, "test", folder))
    observer._link_pages(tracked.run, "http://judge:5000")
    assert list(tracked.run.links) == ["mlflow_url"]


def test_a_place_where_no_database_can_be_made_is_told(own_store):
    run, params = begun("tracking.uri=sqlite:////dev/null/mlflow.db")
    with pytest.raises(ValueError, match="at sqlite:////dev/null/mlflow.db, got: .*correct tracking.uri"):
        MlflowObserver(params).show(run)
