"""The section `tracking` of params.yaml: where a run is shown."""

from stages.params.section import Section


class TrackingParams(Section):
    """Where a run is shown. It changes no number."""

    experiment: str
    """Name of the MLflow experiment."""
    uri: str | None
    """MLflow tracking URI; null takes MLFLOW_TRACKING_URI, else mlflow.db in the store."""
