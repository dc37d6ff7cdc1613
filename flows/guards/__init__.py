"""Guards: what is looked at after each round, so that no week of GPUs is spent on a run that has come apart."""
