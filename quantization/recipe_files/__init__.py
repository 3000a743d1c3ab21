"""Recipes of one's own: TOML files with the same schemes and rules as the named recipes."""
