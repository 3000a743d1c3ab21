"""Says before anything is downloaded or built what fits on a device, and how fast it will be."""
