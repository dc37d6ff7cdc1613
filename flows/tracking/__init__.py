"""MLflow: what it is told of a run, and what it is told later."""
