"""Builds TensorRT engines for one machine and puts them into a bundle."""

if __name__ != "omnijet.engines":  # found from a checkout's root: one module has one name
    raise ImportError(f"{__name__} is now omnijet.engines: what users need is in omnijet itself")
