"""Rounding, ranges and divisors."""
