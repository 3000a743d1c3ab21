"""Rounds numbers, and chooses ranges and divisors for that."""
