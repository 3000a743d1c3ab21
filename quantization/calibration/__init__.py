"""Measures activations while a bundle answers conversations."""
