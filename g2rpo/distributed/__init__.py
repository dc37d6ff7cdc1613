"""Processes that train one policy together: their group, their gradients, their shards of weights."""
