import json
import shutil

import pytest
from logged_in import ask
from mlflow.tracking import MlflowClient
from repetition import same_numbers
from rounds import judged_finally
from tiny import tables, tiny_params
from tracking import shown

from flows.training.loop import call_plainly
from flows.training.session import Session
from stages.store.run import Run


def metrics_of(folder):
    return [same_numbers(metrics) for metrics in Run(folder).metrics()]


def test_without_a_prefect_api_no_server_is_started(trained):
    assert not list(trained.store.rglob("prefect.db"))


@pytest.mark.slow
def test_under_a_prefect_server_the_same_loop_gives_the_same_tables(trained, g2rpo, prefect_api):
    g2rpo.train(**prefect_api)
    plain, orchestrated = trained.run_folder(), g2rpo.run_folder()
    assert orchestrated.name == plain.name
    assert tables(orchestrated) == tables(plain)
    assert metrics_of(orchestrated) == metrics_of(plain)

    (flow_run,) = ask(prefect_api, "flow_runs/filter", {"flow_runs": {"name": {"any_": [f"train-{plain.name}"]}}})
    assert flow_run["state_type"] == "COMPLETED"
    of_this = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    tasks = ask(prefect_api, "task_runs/filter", of_this)
    stages = ("prompts", "rollout", "complete", "score", "integrate", "update")
    rounds = [f"{stage}-r000{number}" for number in (0, 1) for stage in stages]
    evaluations = [f"evaluate-r000{number}" for number in (0, 1, 2, *judged_finally(Run(plain)))]
    assert sorted(task["name"] for task in tasks) == sorted(rounds + evaluations)
    artifacts = ask(prefect_api, "artifacts/latest/filter", of_this)
    by_type = {artifact["type"]: artifact for artifact in artifacts}
    assert by_type["progress"]["data"] == 100.0
    table = json.loads(by_type["table"]["data"])
    assert [row["round"] for row in table] == [0, 1, 2]
    assert {"reward judge_a", "kl", "tuning rule_strict", "test judge_b"} <= set(table[2])

    _, found = shown(g2rpo.store)
    links = Run(orchestrated).links
    assert found.data.tags["g2rpo.prefect_flow_run_id"] == links["prefect_flow_run_id"] == flow_run["id"]
    assert links["mlflow_run_id"] == found.info.run_id
    assert all(link in by_type["markdown"]["data"] for link in links.values())


def test_mlflow_shows_each_step_of_a_run_once(trained):
    trained.train()  # once more: nothing is left to do
    client, run = shown(trained.store)
    for metric, steps in {
        "reward/judge_a/mean": [1, 2],
        "reward/judge_a/step_0/spread": [1, 2],
        "update/ratio_mean": [1, 2],
        "update/kl": [1, 2],
        "advantage/zero_spread_frac": [1, 2],
        "seconds/rollout": [1, 2],
        "held_out/tuning/rule_strict": [0, 1, 2],
        "held_out/test/judge_b": judged_finally(Run(trained.run_folder())),
    }.items():
        assert [entry.step for entry in client.get_metric_history(run.info.run_id, metric)] == steps, metric
    assert run.data.params["rollout.group_size"] == "3"
    assert run.data.tags["g2rpo.run_key"] == trained.run_folder().name
    assert run.info.status == "FINISHED"
    images = client.list_artifacts(run.info.run_id, "images")
    steps = sorted(image.path.split("/")[-1].split("+")[:3] for image in images if image.path.endswith(".png"))
    judged = [("held_out_test", judged_finally(Run(trained.run_folder()))), ("held_out_tuning", (0, 1, 2))]
    assert steps == [[name, "step", str(number)] for name, numbers in judged for number in numbers]


def test_a_run_that_was_deleted_and_made_anew_is_another_in_mlflow(monkeypatch, tmp_path):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    for _ in range(2):
        session = Session.of(tiny_params("run.rounds=1"))
        session.train(call_plainly, final=False)
        shutil.rmtree(session.run.path)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'store/mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("g2rpo").experiment_id])
    assert [run.data.tags["g2rpo.run_key"] for run in runs] == [session.run.path.name] * 2
    assert all("reward/judge_a/mean" in run.data.metrics for run in runs)


def test_mlflow_numbers_are_those_of_the_store(trained):
    _client, run = shown(trained.store)
    last = Run(trained.run_folder()).metrics()[-1]
    assert {key: run.data.metrics[key] for key in last} == last


@pytest.mark.slow
def test_more_rounds_continue_the_same_run(g2rpo, trained):
    g2rpo.train("run.rounds=1")
    done = g2rpo.train()
    assert "1 of 2 rounds are done" in done.stderr
    assert tables(trained.run_folder()).items() <= tables(g2rpo.run_folder()).items()  # round 1 was reported too
