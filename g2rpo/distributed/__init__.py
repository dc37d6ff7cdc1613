"""Processes that learn one policy together: their group, their gradients, their shares of weights."""
