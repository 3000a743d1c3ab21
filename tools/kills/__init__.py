"""Kills commands that write bundles at random moments, and looks at what is left."""
