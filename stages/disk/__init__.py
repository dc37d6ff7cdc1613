"""What lies on disk: the root of the store, whole files, tables, policies."""
