"""Flow runs that are alive for Prefect, but whose process on this machine is gone."""

import socket
from collections.abc import Sequence

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

_ALIVE = [StateType.RUNNING, StateType.CANCELLING, StateType.PENDING]


HOST = "g2rpo.host"
"""Label of a flow run: the machine on which it runs. A worker records only the id of the process."""


def zombies(client: SyncPrefectClient) -> list[FlowRun]:
    """Return the deployed flow runs that have started on this machine and whose process is gone."""
    is_alive = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ALIVE)))
    alive = client.read_flow_runs(flow_run_filter=is_alive)
    return [run for run in alive if run.labels.get(HOST) == socket.gethostname() and _gone(run.infrastructure_pid)]


def crash(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> None:
    """Mark flow runs as crashed, so that the automation runs them again and their slots are free."""
    for run in runs:
        state = Crashed(message="Its process is gone; its finished work is in the store.")
        client.set_flow_run_state(run.id, state)  # not forced: a forced state keeps the slot taken


def _gone(pid: str | None) -> bool:
    """Whether the process has ended."""
    if pid is None:
        return False
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE  # ended, but not reaped
    except psutil.NoSuchProcess:
        return True
