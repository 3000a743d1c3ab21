"""Facts about machines and libraries with their sources, and the limits that follow."""
