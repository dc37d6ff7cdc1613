"""Files on disk: the root of the store, atomic writes, tables, policies."""
