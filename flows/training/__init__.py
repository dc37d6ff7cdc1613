"""A run brought to its end: the session, the loop, a request to stop, an evaluation, a forecast."""
