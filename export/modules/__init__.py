"""The graphs as torch modules."""
