"""Machines and libraries: facts with their sources, and the limits that follow."""
