"""A server that gives other machines access to a reward of this package."""
