"""Guards: checks after each round, so that no GPU time is spent on a run that has diverged."""
