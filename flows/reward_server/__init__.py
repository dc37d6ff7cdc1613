"""A reward of this package served to other machines."""
