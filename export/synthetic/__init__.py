"""Random checkpoints of any size, reproducible by seed."""
