"""What every request passes first: names, origins, key, limits, errors, headers."""
