"""Brings a model to a device: what fits there and how fast it will be, and the way there."""

if __name__ != "omnijet.deployment":  # found from a checkout's root: one module has one name
    raise ImportError(f"{__name__} is now omnijet.deployment: what users need is in omnijet itself")
