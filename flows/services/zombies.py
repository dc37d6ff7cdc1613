"""Flow runs that Prefect believes to run, and whose process on this machine is gone."""

import socket
from collections.abc import Sequence

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

_ALIVE = [StateType.RUNNING, StateType.CANCELLING, StateType.PENDING]


HOST = "g2rpo.host"
"""Label of a flow run: the machine on which it runs. A worker notes the id of the process alone."""


def zombies(client: SyncPrefectClient) -> list[FlowRun]:
    """Return the deployed flow runs that have begun on this machine and whose process is gone."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ALIVE)))
    alive = client.read_flow_runs(flow_run_filter=wanted)
    return [run for run in alive if run.labels.get(HOST) == socket.gethostname() and _gone(run.infrastructure_pid)]


def crash(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> None:
    """Say of them that they have crashed, so that the automation runs them again and their places are free."""
    for run in runs:
        state = Crashed(message="Its process is gone; what it had finished lies in the store.")
        client.set_flow_run_state(run.id, state)  # not forced: a forced one leaves its place taken


def _gone(pid: str | None) -> bool:
    """Whether there is no such process."""
    if pid is None:
        return False
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE  # ended, and nobody has asked how
    except psutil.NoSuchProcess:
        return True
