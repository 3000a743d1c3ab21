"""Takes a checkpoint to a device in one command."""
