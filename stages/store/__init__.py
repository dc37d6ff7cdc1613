"""Runs and their rounds: names, locks, manifests, transfer and retention."""
