"""What a stage is: the declared stages, a job for one, and who executes it."""
