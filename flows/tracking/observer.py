"""Logs runs to MLflow; the step is the number of finished rounds. `g2rpo sync` rebuilds all of it from the store."""

import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlencode

from flows.guards.finding import Finding
from flows.observers.observer import Ending, Evaluated, Observer
from flows.report.pictures import Kept, grid
from flows.tracking.database import make_database
from flows.tracking.experiment_page import dataset_inputs, note_of, tags_of
from flows.tracking.recordable import answering, artifact_home, require_place, tracking_uri
from flows.tracking.run_page import TAG, note_of_experiment, view_of
from flows.tracking.tables import evaluation_table
from stages.params.addresses import without_login
from stages.params.record import Params
from stages.store.run import Run

_KEY_TAG = "g2rpo.run_key"
_MADE_TAG = "g2rpo.run_made"
"""Creation time of the run: it tells a run from one of the same key in another store or before a deletion."""


class MlflowObserver(Observer):
    """Logs a run to MLflow. A run that resumes continues its MLflow run and logs no step twice."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self.run_id = ""
        self._run: Run | None = None
        """Set while the run trains; if it is only shown afterwards, its links stay as they are."""

    def watch(self, run: Run, num_rounds: int) -> None:
        """Show the run as running."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.show(run)
        self._run = run
        run.link("mlflow_run_id", self.run_id)
        uri = tracking_uri(self._params)
        with answering(uri):
            self._link_pages(run, uri)
            self._client.set_tag(self.run_id, "rounds", str(num_rounds))
            self._client.update_run(self.run_id, status="RUNNING")
            self._system = SystemMetricsMonitor(self.run_id, resume_logging=True, tracking_uri=uri)
            self._system.start()

    def show(self, run: Run) -> None:
        """Find or create the MLflow run of a run, as one that has ended; log its missing rounds.

        Raises:
            ValueError: If MLflow cannot be written to.
        """
        from mlflow.tracking import MlflowClient

        uri = tracking_uri(self._params)
        with answering(uri):
            make_database(uri)
            self._client = MlflowClient(tracking_uri=uri)
            self.run_id = self._find(run) or self._make(run)
            self._info = self._client.get_run(self.run_id).info
            for key, value in tags_of(run).items():
                self._client.set_tag(self.run_id, key, value)
            self._rounds_logged = self._steps("round")
            self._evaluations_logged: dict[str, set[int]] = {}
            for number, metrics in enumerate(run.metrics()):
                self.round_finished(number, metrics)

    def settle(self, run: Run) -> None:
        """End the MLflow run of a run that still shows as running though no process holds it."""
        if self._client.get_run(self.run_id).info.status == "RUNNING":
            whole = run.num_finished >= run.params().run.rounds
            self._client.set_terminated(self.run_id, status="FINISHED" if whole else "KILLED")

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log a round's metrics in one batch, unless they are logged."""
        if number + 1 not in self._rounds_logged:
            self._log(metrics, step=number + 1)
            self._rounds_logged.add(number + 1)

    def evaluated(self, judged: Evaluated) -> None:
        """Log held-out rewards and the grid of fixed prompts, unless they are logged."""
        named = {f"held_out/{judged.split}/{name}": value for name, value in judged.metrics.items()}
        if judged.split not in self._evaluations_logged:
            self._evaluations_logged[judged.split] = self._steps(next(iter(named)))
        logged = self._evaluations_logged[judged.split]
        if judged.policy_round not in logged:
            self._log_grid(judged)
            self._log_table(judged)
            self._log(named, step=judged.policy_round)
            logged.add(judged.policy_round)

    def guarded(self, finding: Finding) -> None:
        """Tag the run with the finding of a guard."""
        self._client.set_tag(self.run_id, "g2rpo.guard", finding.line())

    def close(self, ending: Ending) -> None:
        """Log how the run ended."""
        self._system.finish()
        status = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "guarded": "KILLED"}
        self._client.set_terminated(self.run_id, status=status[ending])

    def _log_grid(self, judged: Evaluated) -> None:
        """Log the pictures, for MLflow's slider over steps."""
        key = f"held_out_{judged.split}"
        self._forget("images", f"{key}+step+{judged.policy_round}+")
        pictures = grid(Kept.of(judged.folder).pictures)
        self._client.log_image(self.run_id, pictures, key=key, step=judged.policy_round)
        if self._run:
            self._link_pages(self._run, tracking_uri(self._params))

    def _link_pages(self, run: Run, uri: str) -> None:
        """Record the links to the run's page, and to the pictures of the base and of the last evaluated policy."""
        if uri.startswith("http"):
            uri = without_login(uri)
            run.link("mlflow_url", f"{uri.rstrip('/')}/#/experiments/{self._info.experiment_id}/runs/{self.run_id}")
            logged = self._artifacts("images", f"held_out_{self._params.evaluate.split}+step+")
            pictures = {int(path.split("+")[2]): path for path in logged if path.endswith(".png")}
            last = max(pictures, default=0)
            for name, path in {"before": pictures.get(0), "after": pictures[last] if last else None}.items():
                if path:
                    query = urlencode({"path": path, "run_uuid": self.run_id})
                    run.link(f"mlflow_picture_{name}", f"{uri.rstrip('/')}/get-artifact?{query}")

    def _log_table(self, judged: Evaluated) -> None:
        """Log the rewards of each prompt, as a table that MLflow's page sorts and compares."""
        name = f"{judged.split}-r{judged.policy_round:04d}.json"
        self._forget("evaluations", name)
        self._client.log_table(self.run_id, evaluation_table(judged.folder), f"evaluations/{name}")

    def _forget(self, folder: str, start: str) -> None:
        """Delete artifacts of a process that was killed before it could log the metrics of the same evaluation."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        for path in self._artifacts(folder, start):
            get_artifact_repository(self._info.artifact_uri or "").delete_artifacts(path)

    def _artifacts(self, folder: str, start: str) -> list[str]:
        paths = [artifact.path for artifact in self._client.list_artifacts(self.run_id, folder)]
        return [path for path in paths if PurePosixPath(path).name.startswith(start)]

    def _find(self, run: Run) -> str | None:
        same = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in _identity(run).items())
        matching = self._client.search_runs([self._experiment()], same, max_results=1)
        if not matching:
            return None
        require_place(self._client, tracking_uri(self._params), matching[0].info.run_id)
        self._log_params(run, matching[0].info.run_id, matching[0].data.params)
        return matching[0].info.run_id

    def _make(self, run: Run) -> str:
        tags = _identity(run) | {"mlflow.note.content": note_of(run)}
        made = self._client.create_run(self._experiment(), run_name=f"g2rpo-{run.key[:8]}", tags=tags)
        require_place(self._client, tracking_uri(self._params), made.info.run_id)
        self._log_params(run, made.info.run_id, {})
        self._client.log_inputs(made.info.run_id, datasets=dataset_inputs(self._params))
        self._client.log_text(made.info.run_id, (run.path / "params.yaml").read_text(encoding="utf-8"), "params.yaml")
        self._client.set_terminated(made.info.run_id)
        return made.info.run_id

    def _experiment(self) -> str:
        """Return the id of the experiment; create it if it is new."""
        from mlflow.exceptions import MlflowException

        name = self._params.tracking.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        own = tracking_uri(self._params).startswith("sqlite:")
        location = artifact_home().as_uri() if own else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # opens on runs and charts
        try:
            made = self._client.create_experiment(name, artifact_location=location, tags=kind)
            self._client.set_experiment_tag(made, "mlflow.note.content", note_of_experiment(made))
            self._client.set_experiment_tag(made, TAG, view_of(self._params))
            return made
        except MlflowException:
            made = self._client.get_experiment_by_name(name)  # another process has created it meanwhile
            if made is None:
                raise
            return made.experiment_id

    def _log_params(self, run: Run, run_id: str, logged: Mapping[str, str]) -> None:
        """Log the values of the fingerprint as parameters; values that may change later are tags."""
        from mlflow.entities import Param

        missing = {key: value for key, value in run.fingerprint.values.items() if key not in logged}
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in missing.items()])

    def _steps(self, metric: str) -> set[int]:
        return {entry.step for entry in self._client.get_metric_history(self.run_id, metric)}

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, [Metric(key, value, now, step) for key, value in metrics.items()])


def _identity(run: Run) -> dict[str, str]:
    return {_KEY_TAG: run.key, _MADE_TAG: f"{run.about['created_at']:.3f}"}
