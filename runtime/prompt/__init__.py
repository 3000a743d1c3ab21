"""A conversation as token ids, media and positions."""
