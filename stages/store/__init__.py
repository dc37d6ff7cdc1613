"""Runs and their rounds: what names, locks, describes, moves and keeps them."""
