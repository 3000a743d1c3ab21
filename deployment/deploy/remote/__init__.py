"""The device that a deployment goes on at, reached over ssh."""
