"""Seeded random checkpoints of any size."""
