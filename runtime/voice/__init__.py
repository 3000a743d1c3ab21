"""Where speech begins and ends in a sound that goes on."""
