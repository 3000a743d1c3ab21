"""A server as replicas under Ray Serve: one model a GPU, or a share of the cores."""
