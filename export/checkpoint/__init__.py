"""Readers for a checkpoint on disk: configuration, tensors, texts and voices."""
