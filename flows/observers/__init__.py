"""Observers of a run, besides MLflow and Prefect: the protocol, the console, the log."""
