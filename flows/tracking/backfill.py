"""MLflow built again from the store: whatever it lacks of a run's rounds, held-out rewards and pictures."""

from flows.observers.observer import Judged
from flows.tracking.observer import MlflowObserver, answering, require_tracking, tracking_uri
from stages.params.record import Params
from stages.readings.metrics import whole_evaluations
from stages.store.lock import locked
from stages.store.run import Run, find_run, stored_runs


def synced(name: str | None) -> list[str]:
    """Log what MLflow lacks of a run, or of all runs of the store; return a line a run.

    Raises:
        ValueError: If there is no such run.
    """
    if name:
        run = find_run(name)
        return [sync(run, run.params())]
    return [_told(run) for run in stored_runs()]


def _told(run: Run) -> str:
    try:
        return sync(run, run.params())
    except ValueError as error:
        return f"run {run.path.name} could not be logged: {error}"


def sync(run: Run, params: Params) -> str:
    """Log what MLflow lacks of a run, and return a line that says where it is shown.

    Raises:
        ValueError: If the tracking server does not answer, or a file of metrics is damaged.
    """
    require_tracking(params)
    tracker = MlflowObserver(params)
    with locked(run.path):
        tracker.show(run)
        evaluations = whole_evaluations(run)
        with answering(tracking_uri(params)):
            for policy_round, split in evaluations:
                tracker.evaluated(Judged(policy_round, split, run.evaluation_folder(policy_round, split)))
            tracker.settle(run)
    told = f"{run.num_finished} rounds and {len(evaluations)} evaluations"
    return f"run {run.key}: {told} are in MLflow run {tracker.run_id} at {tracking_uri(params)}"
