"""The section `tracking` of params.yaml: where MLflow tracks a run."""

from stages.params.section import Section


class TrackingParams(Section):
    """Where MLflow tracks a run. It changes no number."""

    experiment: str
    """Name of the MLflow experiment."""
    uri: str | None
    """MLflow tracking URI; null: MLFLOW_TRACKING_URI, else mlflow.db in the store."""
