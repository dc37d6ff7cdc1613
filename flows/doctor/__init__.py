"""What can be wrong with a machine, a store or a server before a run is started, each with its remedy."""
