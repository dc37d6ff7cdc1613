"""The train flow in this process, under Prefect's real API; no round is trained, sessions are told how to end."""

import io
import logging

import httpx
import pytest
from prefect.exceptions import TerminationSignal
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.runtime import task_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from reward_servers import reply, scripted
from tiny import tiny_params

from flows.common.endings import StopRequestedError
from flows.prefect_flows import train
from flows.prefect_flows.observer import PrefectObserver
from flows.training.session import Session
from stages.store.run import open_run

pytestmark = [
    pytest.mark.usefixtures("clients_left"),  # by a flow whose login is refused
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture
def session(own_store):
    return Session.of(tiny_params())


def tree(*overrides):
    return tiny_params(*overrides).model_dump(mode="json")


def test_a_stage_call_is_a_task_that_is_named_after_stage_and_round(api):
    assert train.call_as_task("rollout", 7, lambda: [task_run.name, task_run.tags]) == ["rollout-r0007", []]


def test_what_a_stage_raises_is_raised_by_its_task(api):
    def work():
        raise ValueError("the shard is damaged")

    with pytest.raises(ValueError, match="the shard is damaged"):
        train.call_as_task("score", 0, work)


def test_a_session_is_trained_by_tasks_and_shown_on_its_page(session, told, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "0f09")
    assert train.trained_here(session, final=False, out=tmp_path) == session.run.key
    (words,) = told.words
    assert words["call"] is train.call_as_task
    assert [type(observer) for observer in words["observers"]] == [PrefectObserver]
    assert words["links"] == {"prefect_flow_run_id": "0f09"}
    assert (words["final"], words["out"]) == (False, tmp_path)


def test_a_session_that_is_asked_to_stop_is_cancelled(session, told):
    told.ends = [StopRequestedError("run 3fa9 is stopped on request")]
    state = train.trained_here(session, final=True)
    assert state.is_cancelled()
    assert state.message == "run 3fa9 is stopped on request"


def test_a_terminated_session_is_cancelled_if_it_was_asked_to_stop_and_crashes_if_not(session, told):
    told.ends = [TerminationSignal(signal=15), TerminationSignal(signal=15)]
    request = session.run.path / "stop"
    request.write_text("1\n")
    assert train.trained_here(session, final=True).is_cancelled()
    assert not request.exists()
    with pytest.raises(TerminationSignal):
        train.trained_here(session, final=True)


def test_a_flow_that_a_person_starts_trains_the_run_of_its_parameters(own_store, told, tmp_path):
    params = tiny_params("run.seed=4")
    key = open_run(params, device="cpu").key
    assert train.train_flow.fn("a name", tree("run.seed=4"), False, str(tmp_path)) == key
    (words,) = told.words
    assert (words["key"], words["final"], words["out"]) == (key, False, tmp_path)


def test_a_flow_run_is_named_after_its_run_and_returns_its_key(api, session, told, monkeypatch):
    key, of = session.run.key, Session.of
    monkeypatch.setattr(Session, "of", None)  # the flow goes on with the session that it is given
    assert train.train_as_flow(session, True, None) == key
    monkeypatch.setattr(Session, "of", of)
    shown = api.flow_runs()[0]
    assert (shown["name"], shown["state_type"]) == (f"train-{key}", "COMPLETED")
    assert told.words[0]["links"] == {"prefect_flow_run_id": shown["id"]}


def test_a_flow_that_is_asked_to_stop_is_cancelled_on_its_page_and_says_so(api, session, told):
    told.ends = [StopRequestedError("it is stopped on request")]
    with pytest.raises(StopRequestedError, match="it is stopped on request"):
        train.train_as_flow(session, True, None)
    assert (api.flow_runs()[0]["name"], api.flow_runs()[0]["state_type"]) == (f"train-{session.run.key}", "CANCELLED")


def test_what_a_flow_fails_by_is_raised(api, session, told):
    told.ends = [ValueError("the base is not there")]
    with pytest.raises(ValueError, match="the base is not there"):
        train.train_as_flow(session, True, None)
    assert api.flow_runs()[0]["state_type"] == "FAILED"


def test_what_a_flow_fails_by_is_named_on_the_console_without_its_traceback(api, session, told, monkeypatch):
    shown = io.StringIO()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            monkeypatch.setattr(handler.console, "file", shown)
    told.ends = [KeyError("outputs")]
    with pytest.raises(KeyError):
        train.train_as_flow(session, True, None)
    assert "Encountered exception during execution: KeyError('outputs')" in shown.getvalue()
    assert "Traceback" not in shown.getvalue()


def test_a_refused_login_is_told_in_a_persons_words(api, session):
    refused = pytest.raises(ValueError, match=r"The Prefect API requires the login .*, got none: it answers 401")
    with (
        scripted(reply({"detail": "Unauthorized"}, status=401)) as server,
        temporary_settings({PREFECT_API_URL: f"{server.url}/api"}),
        refused,
    ):
        train.train_as_flow(session, True, None)


def test_a_run_that_is_done_when_the_server_goes_is_done(session, told, monkeypatch):
    """The flow ends its work, and then fails to say so."""
    key = session.run.key

    def gone(*words, **how):
        train.trained_here(session, final=True)
        raise httpx.ConnectError("nobody is there")

    monkeypatch.setattr(train, "train_flow", gone)
    assert train.train_as_flow(session, True, None) == key
    told.ends = [StopRequestedError("before it was done")]
    with pytest.raises(httpx.ConnectError):
        train.train_as_flow(session, True, None)
