"""A pack from nothing, or for a custom generator."""
