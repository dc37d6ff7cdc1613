"""Whether a run is what it was, and how it becomes that again."""
