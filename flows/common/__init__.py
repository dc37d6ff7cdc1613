"""Shared by all rooms of flows: endings, processes, servers, rows of a page."""
