"""What a run has come to, as pages and pictures."""
