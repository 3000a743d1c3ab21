"""Turns, streams and sessions."""
