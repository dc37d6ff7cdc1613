"""Maintenance of the store and of a run's inputs: checks, prompt lists, packages of rewards."""
