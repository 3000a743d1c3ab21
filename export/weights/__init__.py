"""A graph's weights and the bundle's tables, streamed from the checkpoint."""
