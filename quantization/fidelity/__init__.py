"""Measures what quantization did to a bundle."""
