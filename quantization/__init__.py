"""Makes a bundle smaller with integers or FP8 instead of floats, and measures what that costs."""

if __name__ != "omnijet.quantization":  # found from a checkout's root: one module has one name
    raise ImportError(
        f"{__name__} is now omnijet.quantization: what users need is in omnijet itself"
    )
