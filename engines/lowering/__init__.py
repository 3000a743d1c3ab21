"""Other forms of the canonical graph, proven equal to it."""
