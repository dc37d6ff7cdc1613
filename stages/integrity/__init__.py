"""Checks that a run is as it was written, and repairs it."""
