"""Layers and bytes of a model's graphs from its dimensions alone: no weights, no graph files."""
