"""Graph files, their weight files and passes over them. No torch here."""
