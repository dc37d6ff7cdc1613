"""Who executes the stages: this process, or actors of a Ray cluster."""
