"""Start a training run: under Prefect if an API is configured, as plain calls if not."""

from dataclasses import dataclass
from pathlib import Path

from flows.common.endings import remember_server
from flows.common.servers import prefect_api, require_prefect
from flows.training.loop import call_plainly
from flows.training.session import Session
from stages.params.record import Params
from stages.store.run import Run, find_run


@dataclass(frozen=True)
class Started:
    """The run, and its folder. Example: run_key "3fa9c1d20b7e4488"."""

    run_key: str
    folder: Path


def start(params: Params, *, named: Run | None = None, final: bool = True, out: Path | None = None) -> Started:
    """Train the run of these parameters, or after a rollback its child, to its number of rounds.

    Args:
        params: The parameters.
        named: A run that must have these parameters.
        final: Whether to evaluate base, best and last policy on `report.split` at the end.
        out: Folder to link the run into, for DVC.
    """
    api = prefect_api()
    if api:
        require_prefect(api)
    session = Session.of(params, named)
    if api:
        remember_server(api)
        from flows.prefect_flows.train import train_as_flow

        run = find_run(train_as_flow(session, final, out))
    else:
        run = session.train(call_plainly, final=final, out=out)
    return Started(run.key, run.path)
