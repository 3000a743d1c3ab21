"""Rewrites the canonical graph into equal forms that libraries can build and run."""
