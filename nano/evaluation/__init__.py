"""Scores on the held-out set."""
