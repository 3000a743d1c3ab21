"""Benchmarks of cost and accuracy, beside other programs."""
