"""Checks at the dimensions of the 3B and 7B."""
