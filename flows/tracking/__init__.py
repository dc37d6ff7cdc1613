"""MLflow: runs logged while they train, and logged later from the store."""
