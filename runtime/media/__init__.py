"""Reads sounds, pictures and clips from files and arrays."""
