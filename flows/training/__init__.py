"""Training: the session, the loop over rounds, requests to stop, final evaluation, cost forecast."""
