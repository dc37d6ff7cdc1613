"""What every room of flows may need: endings, processes, servers, rows of a page."""
