"""Prefect: the flows, their observer, a server of one's own, the demo."""
