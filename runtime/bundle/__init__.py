"""The bundle that travels to the device: a folder with a manifest, and its contents."""
