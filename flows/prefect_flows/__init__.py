"""Prefect: the flows, their observer, a temporary server, the demo."""
