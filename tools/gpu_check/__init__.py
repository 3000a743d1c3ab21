"""The checks that need a GPU."""
