"""Numbers read from the tables of a run: metrics, the best round, budgets, traces."""
