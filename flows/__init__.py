"""The flows that chain the stages; the only place that knows Prefect and MLflow."""
