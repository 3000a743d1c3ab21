"""A long run: a thousand turns and two hundred cancels in one process."""
