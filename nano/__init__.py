"""Omnijet-nano: a small trained checkpoint with its world, its training and its evaluation."""

if __name__ != "omnijet.nano":  # found from a checkout's root: one module has one name
    raise ImportError(f"{__name__} is now omnijet.nano: what users need is in omnijet itself")
