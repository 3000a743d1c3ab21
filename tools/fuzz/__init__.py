"""Damaged and random inputs, by the thousand: each is taken or refused, and nothing else."""
