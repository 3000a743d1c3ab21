"""The sub-commands that need the runtime alone."""
