"""The training of the embedded world's shipped weights: its base model and its judges."""
