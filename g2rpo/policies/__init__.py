"""Model families, one file each, adapted to one protocol."""
