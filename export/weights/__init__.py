"""Weight files and tables of a bundle, streamed from the checkpoint."""
