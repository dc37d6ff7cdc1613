"""Complete MLflow from the store: missing rounds, held-out rewards and pictures of runs."""

from flows.observers.observer import Evaluated
from flows.tracking.observer import MlflowObserver
from flows.tracking.recordable import answering, require_tracking, tracking_uri
from flows.upkeep.store_commands import require_whole
from stages.params.addresses import without_login
from stages.params.record import Params
from stages.readings.metrics import whole_evaluations
from stages.store.adopted import require_named
from stages.store.lock import locked
from stages.store.run import Run, find_run, stored_runs


def synced(name: str | None) -> list[str]:
    """Log what MLflow does not have yet of a run, or of all runs of the store; return one line per run.

    Raises:
        ValueError: If the run does not exist.
    """
    if name:
        run = find_run(name)
        return [sync(run, run.params())]
    return [_synced(run) for run in stored_runs()]


def _synced(run: Run) -> str:
    try:
        return sync(run, run.params())
    except ValueError as error:
        return f"run {run.path.name} could not be logged: {error}"


def sync(run: Run, params: Params) -> str:
    """Log what MLflow does not have yet of a run; return a line with its MLflow run.

    Raises:
        ValueError: If the tracking server does not answer, or a file of metrics or one of the run's own is damaged.
    """
    require_whole(run)
    require_named(run.path, params)
    require_tracking(params)
    tracker = MlflowObserver(params)
    with locked(run.path):
        tracker.show(run)
        evaluations = whole_evaluations(run)
        with answering(tracking_uri(params)):
            for policy_round, split in evaluations:
                tracker.evaluated(Evaluated(policy_round, split, run.evaluation_folder(policy_round, split)))
            tracker.settle(run)
    logged = f"{run.num_finished} rounds and {len(evaluations)} evaluations"
    return f"run {run.key}: {logged} are in MLflow run {tracker.run_id} at {without_login(tracking_uri(params))}"
