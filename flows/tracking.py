"""MLflow: one run an experiment, step = rounds done. A projection of the store, to be rebuilt from it."""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.answers import require_answer
from flows.pictures import Kept, grid
from stages.params import Params
from stages.store import Run, home

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

_KEY_TAG = "g2rpo.run_key"
FLOW_RUN_TAG = "g2rpo.prefect_flow_run_id"


def tracking_uri(params: Params) -> str:
    """Return where MLflow keeps runs: params, else MLFLOW_TRACKING_URI, else a SQLite file in the store."""
    return params.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


class MlflowObserver:
    """Logs a run to MLflow. A run that goes on is logged on under the same MLflow run, no step twice."""

    def __init__(self, params: Params, tags: Mapping[str, str]) -> None:
        self._params = params
        self._tags = tags
        self.run_id = ""

    def watch(self, run: Run, num_rounds: int) -> None:
        """Find or make the MLflow run, and log the finished rounds that it lacks."""
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        home().mkdir(parents=True, exist_ok=True)
        self._run = run
        self._client = MlflowClient(tracking_uri=tracking_uri(self._params))
        self.run_id = self._find_or_make(run)
        for key, value in {**self._tags, "rounds": str(num_rounds)}.items():
            self._client.set_tag(self.run_id, key, value)
        self._rounds_logged = self._steps("round")
        self._evaluations_logged: dict[str, set[int]] = {}
        for number, metrics in enumerate(run.metrics()):
            self.round_finished(number, metrics)

    def stage_started(self, stage: str, number: int) -> None:
        """Nothing is logged before a round is whole."""

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log a round's metrics in one batch, unless they are there."""
        if number + 1 not in self._rounds_logged:
            self._log(metrics, step=number + 1)
            self._rounds_logged.add(number + 1)

    def evaluated(self, policy_round: int, split: str, metrics: Mapping[str, float]) -> None:
        """Log held-out rewards and the grid of fixed prompts, unless they are there."""
        named = {f"held_out/{split}/{name}": value for name, value in metrics.items()}
        logged = self._evaluations_logged.setdefault(split, self._steps(next(iter(named))))
        if policy_round not in logged:
            kept = Kept.of(self._run.evaluation_folder(policy_round, split))
            self._client.log_image(self.run_id, grid(kept.pictures), key=f"held_out_{split}", step=policy_round)
            self._log(named, step=policy_round)
            logged.add(policy_round)

    def close(self, *, failed: bool) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self.run_id, status="FAILED" if failed else "FINISHED")

    def _find_or_make(self, run: Run) -> str:
        name = self._params.tracking.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            own = tracking_uri(self._params).startswith("sqlite:")
            location = (home() / "mlartifacts").as_uri() if own else None
            kind = {"mlflow.experimentKind": "custom_model_development"}  # opens on runs and charts
            experiment_id = self._client.create_experiment(name, artifact_location=location, tags=kind)
        else:
            experiment_id = experiment.experiment_id
        found = self._client.search_runs([experiment_id], _by_key(run), max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            self._log_params(found[0].info.run_id, found[0].data.params)
            return found[0].info.run_id
        tags = {_KEY_TAG: run.key, "mlflow.note.content": _note(run)}
        made = self._client.create_run(experiment_id, run_name=f"g2rpo-{run.key[:8]}", tags=tags)
        self._log_params(made.info.run_id, {})
        return made.info.run_id

    def _log_params(self, run_id: str, logged: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        missing = {key: value for key, value in _flat(self._params).items() if key not in logged}
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in missing.items()])

    def _steps(self, metric: str) -> set[int]:
        return {entry.step for entry in self._client.get_metric_history(self.run_id, metric)}

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, [Metric(key, value, now, step) for key, value in metrics.items()])


def require_tracking(params: Params) -> None:
    """Refuse a tracking server that does not answer, before anything is computed.

    Raises:
        ValueError: With its address.
    """
    uri = tracking_uri(params)
    if uri.startswith("http"):
        require_answer(f"{uri.rstrip('/')}/health", "the MLflow server", "correct tracking.uri or MLFLOW_TRACKING_URI")


@dataclass(frozen=True)
class Shown:
    """Where MLflow shows a run, and under which Prefect flow run it was last trained, if any."""

    run_id: str
    flow_run_id: str


def find_mlflow_run(params: Params, run: Run) -> Shown:
    """Return the MLflow run that shows a run of the store.

    Raises:
        ValueError: If there is none.
    """
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(params))
    experiment = client.get_experiment_by_name(params.tracking.experiment)
    found = client.search_runs([experiment.experiment_id], _by_key(run), max_results=1) if experiment else []
    if not found:
        raise ValueError(f"Run {run.key} must have been logged to {tracking_uri(params)}, got no such MLflow run.")
    return Shown(found[0].info.run_id, found[0].data.tags.get(FLOW_RUN_TAG, ""))


def _by_key(run: Run) -> str:
    return f"tags.`{_KEY_TAG}` = '{run.key}'"


def _note(run: Run) -> str:
    again = f"g2rpo train --params {run.path / 'params.yaml'}"
    return f"Run `{run.key}` of the store at `{run.path}`.\n\nTo go on with it: `{again}`."


def _flat(params: Params) -> dict[str, Any]:
    """Return the parameters inside the fingerprint as `section.key`; what may change later is a tag."""
    tree = params.model_dump(mode="json", exclude={"evaluate", "report", "tracking"})
    del tree["run"]["rounds"]
    return {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}
