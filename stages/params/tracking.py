"""The section `tracking` of params.yaml: where MLflow tracks a run."""

from stages.params.addresses import Address
from stages.params.names import Title
from stages.params.section import Section


class TrackingParams(Section):
    """Where MLflow tracks a run. It changes no number."""

    experiment: Title
    """Name of the MLflow experiment."""
    uri: Address | None
    """MLflow tracking URI, without a login; null: MLFLOW_TRACKING_URI, else mlflow.db in the store."""
