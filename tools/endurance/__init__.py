"""A thousand turns and two hundred cancels in one process."""
