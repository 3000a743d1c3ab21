"""What travels to the device: a folder with a manifest, and what it says."""
