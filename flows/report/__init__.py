"""The results of a run, as pages and pictures."""
