"""Checks of machine, store and servers before a run, each with a remedy."""
