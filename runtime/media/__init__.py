"""Files and arrays of sound, pictures and clips, read into arrays."""
