"""Rewards, one file each, adapted to one protocol."""
