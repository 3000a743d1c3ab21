"""Compares the bundle of a checkpoint with that of the same checkpoint saved by transformers 5."""
