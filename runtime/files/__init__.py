"""Names, bounded reading, safe writing and removal of files and folders."""
