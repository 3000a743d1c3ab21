"""Sends signals to commands at work, and measures how soon and how cleanly they end."""
