"""A policy given away: its folder, its card, its place in a registry."""
