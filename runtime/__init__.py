"""What runs on the device: numpy and one inference backend."""

if __name__ != "omnijet.runtime":  # found from a checkout's root: one module has one name
    raise ImportError(f"{__name__} is now omnijet.runtime: what users need is in omnijet itself")
