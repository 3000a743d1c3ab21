"""A checkpoint as it lies on disk: configuration, tensors, texts, voices."""
