"""Who watches a run beside tracking: the protocol, the console, the log."""
