"""The contract of a stage: the declared stages, a job, and its executor."""
