"""What made the shipped weights of the embedded world: its base model and its judges."""
