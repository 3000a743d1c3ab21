"""Turns codec tokens into sound: DiT windows and the vocoder."""
