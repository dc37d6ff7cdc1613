"""What Prefect's API is told of a run: progress, rounds, a card, the findings of guards."""

import json
import re

import pytest
from histories import finish, judge, run_by_hand
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from tiny import ROOT

from flows.guards.finding import Finding
from flows.observers.observer import Evaluated
from flows.prefect_flows.observer import PrefectObserver, summary_page
from stages.store.run import Run

pytestmark = [
    pytest.mark.usefixtures("clients_left"),  # by the call that creates an artifact
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow:FutureWarning"),
]


def metrics(reward):
    """Of a round with this mean reward."""
    return {"reward/judge_a/mean": reward, "update/kl": 0.0625, "update/grad_norm": 0.5, "update/clip_frac": 0.1}


@pytest.fixture
def shown(api, own_store):
    """A run of which one of four rounds is done, and who shows it."""
    run, params = run_by_hand(metrics(0.123456))
    run.begin_session({"git_commit": "fae7c60"})
    observer = PrefectObserver()
    observer.watch(run, 4)
    return run, params, observer


def test_the_bar_shows_how_much_is_done_and_moves_with_each_round(shown, api):
    run, _, observer = shown
    assert api.artifact(f"progress-{run.key}") == 25.0
    observer.round_finished(1, metrics(0.5))
    assert api.artifact(f"progress-{run.key}") == 50.0
    PrefectObserver().watch(run, 1)
    assert api.artifact(f"progress-{run.key}") == 100.0


def test_the_table_has_a_row_a_round_with_each_column_wherever_one_is_known(shown, api):
    run, params, observer = shown
    judge(run, params, 2, others_too=False, judge_a=[0.25, 0.5], rule_soft=[1.0, 0.0])
    observer.round_finished(1, metrics(0.5))
    observer.evaluated(Evaluated(2, "tuning", run.evaluation_folder(2, "tuning")))
    judge(run, params, 0, others_too=False, judge_a=[0.25])
    observer.evaluated(Evaluated(0, "tuning", run.evaluation_folder(0, "tuning")))
    known = {"kl": 0.0625, "grad_norm": 0.5, "clip_frac": 0.1}
    nothing = dict.fromkeys(("reward judge_a", "kl", "grad_norm", "clip_frac", "tuning rule_soft"), "")
    assert json.loads(api.artifact(f"rounds-{run.key}")) == [
        {"round": 0, "tuning judge_a": 0.25} | nothing,
        {"round": 1, "reward judge_a": 0.12346} | known | {"tuning judge_a": "", "tuning rule_soft": ""},
        {"round": 2, "reward judge_a": 0.5} | known | {"tuning judge_a": 0.375, "tuning rule_soft": 0.5},
    ]


def test_a_guards_finding_is_an_event_of_the_run(shown):
    run, _, observer = shown
    observer.guarded(Finding("kl", 3, "It drifts.", "warn"))
    EventsWorker.instance().drain()
    events = [event for client in AssertingEventsClient.all for event in client.events]
    (event,) = [event for event in events if event.event == "g2rpo.guard.tripped"]
    assert event.resource.id == f"g2rpo.run.{run.key}"
    assert event.payload == {"guard": "kl", "action": "warn", "round": 3, "message": "It drifts."}
    quoted = re.findall(r"event\.payload\.(\w+)", (ROOT / "automations.yaml").read_text())
    assert set(quoted) == event.payload.keys()  # what the shipped notification quotes


def test_at_the_end_the_table_and_a_card_are_left(shown, api):
    run, _, observer = shown
    observer.close("stopped")
    assert [row["round"] for row in json.loads(api.artifact(f"rounds-{run.key}"))] == [1]
    assert api.artifact(f"run-{run.key}") == summary_page(run, "stopped")


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("finished", "The run is complete."),
        ("failed", "It has failed; the logs say why."),
        ("stopped", "It was stopped; the same command or deployment resumes it."),
        ("guarded", "A guard has ended it; the logs say which one"),
    ],
)
def test_a_card_says_how_a_run_ended_what_to_do_next_and_how_it_is_known(own_store, ending, told):
    run, _ = run_by_hand({}, {})
    run.begin_session({"git_commit": "fae7c60", "mlflow_run_id": "9a"})
    said = summary_page(run, ending)
    assert said.startswith(f"# Run {run.key}\n\n2 rounds are done. {told}")
    assert "Its curves and pictures are in MLflow, under the id below." in said
    assert f"| export the best policy | `g2rpo export --run {run.key[:8]} --to FOLDER` |\n" in said
    table = (
        f"| id | value |\n|---|---|\n| git commit | `fae7c60` |\n| mlflow run id | `9a` |\n| tables | `{run.path}` |"
    )
    assert table in said


def test_a_card_leads_to_mlflow_and_to_the_pictures_before_and_after(own_store):
    run, _ = run_by_hand()
    finish(run, {})
    pages = {"mlflow_url": "http://m/run", "mlflow_picture_before": "http://m/a.png"}
    run.begin_session(pages)
    assert "[Curves, parameters, figures and pictures in MLflow](http://m/run)" in summary_page(run, "finished")
    assert "Before:" not in summary_page(run, "finished")
    run.begin_session(pages | {"mlflow_picture_after": "http://m/b.png"})
    said = summary_page(Run(run.path), "finished")
    assert "Before:\n\n![pictures of the base](http://m/a.png)\n\nAfter:\n\n![" in said
    assert "http://m/b.png" in said
    assert "| mlflow" not in said
