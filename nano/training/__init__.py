"""One stage of training a file."""
