"""The deployed flows in this process, under Prefect's real API; no round is trained."""

import logging
import re
import socket

import pytest
import yaml
from histories import run_by_hand
from prefect.exceptions import TerminationSignal
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate
from services import overrides_of
from tiny import ROOT, tiny_params

from flows.prefect_flows import deployed
from stages.store.run import open_run


@pytest.fixture(autouse=True)
def project(api, own_store, monkeypatch):
    """Parameter files lie below the working directory."""
    monkeypatch.chdir(ROOT)


def shipped():
    return yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def test_what_is_shipped_waits_for_its_turn_checks_its_form_and_has_no_schedule_on():
    assert [one["name"] for one in shipped()] == ["demo", "nightly", "weekly", "weekly"]
    for one in shipped():
        assert one["enforce_parameter_schema"]
        assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
        assert "g2rpo" in one["tags"]
        assert isinstance(load_flow_from_entrypoint(one["entrypoint"]), Flow)
        assert [schedule["active"] for schedule in one.get("schedules", [])] in ([], [False])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rounds": 0}, "0 is less than the minimum of 1"),
        ({"seed": -1}, "-1 is less than the minimum of 0"),
        ({"final": "perhaps"}, "'perhaps' is not of type 'boolean'"),
        ({"params": "/etc/passwd"}, "does not match"),
        ({"overrides": {"rollout": 3}}, "'rollout' does not match"),
    ],
)
def test_wrong_parameters_are_refused_by_the_schema_that_a_deployment_gets(wrong, told):
    schema = parameter_schema(deployed.train).model_dump_for_openapi()
    validate({}, schema, raise_on_error=True)
    with pytest.raises(ValidationError, match=re.escape(told)):
        validate(wrong, schema, raise_on_error=True)


def test_train_brings_the_run_of_its_form_to_its_rounds_under_its_name(api, told):
    params = tiny_params("run.rounds=3", "run.seed=5")
    key = open_run(params, device="cpu").key
    assert deployed.train(overrides=overrides_of("run.rounds=2"), rounds=3, seed=5, final=False) == key
    (words,) = told.words
    assert (words["params"], words["key"], words["final"]) == (params, key, False)
    shown = api.flow_runs()[0]
    assert shown["name"] == f"train-{key}"
    assert shown["labels"]["g2rpo.host"] == socket.gethostname()
    assert words["links"] == {"prefect_flow_run_id": shown["id"]}


def test_a_flow_run_that_is_terminated_says_how_to_go_on(monkeypatch, told, caplog):
    told.ends = [TerminationSignal(signal=15)]
    for name in ("_label_flow_run", "_name_flow_run"):
        monkeypatch.setattr(deployed, name, lambda *words: None)  # there is no flow run
    monkeypatch.setattr(deployed, "get_run_logger", lambda: logging.getLogger("the run"))
    with pytest.raises(TerminationSignal):
        deployed.train.fn("params.yaml", overrides_of("run.rounds=2"))
    key = open_run(tiny_params(), device="cpu").key
    assert f"run {key} is stopped by SIGTERM; its finished work is in the store, and a new flow run" in caplog.text


def test_without_rounds_and_seed_those_of_the_file_are_taken(told):
    deployed.train("params.yaml", overrides_of("run.rounds=2"))
    assert told.words[0]["params"] == tiny_params()
    assert told.words[0]["final"] is True


def test_a_value_out_of_range_is_refused_by_its_name(told):
    with pytest.raises(ValueError, match="rollout.eta"):
        deployed.train(overrides={"rollout.eta": -1.0})
    assert told.words == []


def test_evaluate_judges_the_newest_run_with_the_prompts_that_it_keeps(api, monkeypatch):
    run, _ = run_by_hand({})
    monkeypatch.setattr(
        "flows.training.evaluation.evaluate_run", lambda key, own, out: f"{key} {own.prompts.path} {own.report} {out}"
    )
    asked = tiny_params("report.num_prompts=2").report
    told = deployed.evaluate(overrides={"report.num_prompts": 2}, out="judged")
    assert told == f"{run.key} {run.prompts} {asked} judged"
    assert api.flow_runs()[0]["name"] == f"evaluate-{run.key}"
    assert api.flow_runs()[0]["labels"]["g2rpo.host"] == socket.gethostname()


def test_evaluate_refuses_a_run_without_a_finished_round(api):
    run, _ = run_by_hand()
    with pytest.raises(ValueError, match=f"Run {run.key} must have finished a round, got none. Train it first"):
        deployed.evaluate(run.key[:6])


def test_compare_takes_a_plan_and_a_folder(api, monkeypatch):
    taken = []
    monkeypatch.setattr("flows.compare.run.compare", lambda *words: taken.append(words) or "out/report.html")
    assert deployed.compare(out="out") == "out/report.html"
    assert [[str(word) for word in words] for words in taken] == [["presets/compare.yaml", "out"]]
    with pytest.raises(Exception, match="plan"):
        deployed.compare(plan="/etc/plan.yaml")


def test_what_has_crashed_again_and_again_is_not_tried_again(monkeypatch):
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", "7")
    with pytest.raises(ValueError, match=r"crashed 6 times is not tried again, got try 7. Read its logs"):
        deployed.compare.fn()
