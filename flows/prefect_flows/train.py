"""Prefect: the train flow, with stage calls as tasks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled, State

from flows.common.endings import StopRequestedError
from flows.common.servers import login_refused
from flows.common.unforeseen import name_errors_in_one_line
from flows.prefect_flows.observer import PrefectObserver
from flows.training.session import Session
from flows.training.stop_request import obey_request
from stages.engine.execute import StageResult
from stages.params.file import parse_params

_ENDED = dict[str, str]()
"""Runs that have ended in this process, with the key at the end: their own, or that of a child."""
_SESSIONS = dict[str, Session]()
"""Sessions that this process has opened for its next flow, by the keys of their runs."""


def call_as_task(name: str, number: int, work: Callable[[], StageResult]) -> StageResult:
    """Call a stage as a Prefect task, named by stage and round, such as `rollout-r0007`.

    Prefect caches and persists nothing: the manifests in the store record what is done. The task has no tags:
    Prefect requests a concurrency slot for each tag of each call, which took about 2 s.
    """
    task = Task(
        fn=work,
        name=name,
        task_run_name=f"{name}-r{number:04d}",
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return task()


@flow(name="train", flow_run_name="train-{key}")
def train_flow(key: str, params: dict[str, Any], final: bool = True, out: str | None = None) -> Any:
    """Train the run of these parameters to its number of rounds; return its key, or that of its child after a rollback.

    Args:
        key: The run's key, for the name of the flow run.
        params: The tree of params.yaml.
        final: Whether to evaluate base, best and last policy on `report.split` at the end.
        out: Folder to link the run into, for DVC.
    """
    session = _SESSIONS.pop(key, None) or Session.of(parse_params(params))
    return trained_here(session, final=final, out=Path(out) if out else None)


def trained_here(session: Session, *, final: bool, out: Path | None = None) -> str | State[Any]:
    """Train within the present flow run; return the run's key, or Cancelled after `g2rpo stop`."""
    links = {"prefect_flow_run_id": str(flow_run.id)}
    try:
        try:
            ended = session.train(call_as_task, observers=[PrefectObserver()], links=links, final=final, out=out).key
        except TerminationSignal:
            obey_request(session.run)  # `g2rpo stop --now`: if it were Crashed, an automation would restart it
            raise
    except StopRequestedError as stop:
        return Cancelled(message=str(stop))
    _ENDED[session.run.key] = ended
    return ended


def train_as_flow(session: Session, final: bool, out: Path | None) -> str:
    """Call `train_flow` in this process with an open session; return the key that the flow returns.

    Raises:
        StopRequestedError: After `g2rpo stop`; the flow run is Cancelled.
        ValueError: If the API refuses the login.
    """
    name_errors_in_one_line()
    key, tree = session.run.key, session.params.model_dump(mode="json")
    _ENDED.pop(key, None)
    _SESSIONS[key] = session
    try:
        state = train_flow(key, tree, final, str(out) if out else None, return_state=True)  # pyrefly: ignore[no-matching-overload]
    except HTTPError as error:
        if key in _ENDED:
            return _ENDED[key]  # the server is gone, but the run is done
        if refused := login_refused(error):
            raise refused from None
        raise
    finally:
        _SESSIONS.pop(key, None)
    if state.is_cancelled():
        raise StopRequestedError(state.message)
    return state.result()
