"""Codec tokens to sound: DiT windows and vocoder."""
