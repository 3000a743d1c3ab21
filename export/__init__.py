"""The exporter turns a checkpoint into a bundle: graphs, tables and a manifest."""

if __name__ != "omnijet.export":  # found from a checkout's root: one module has one name
    raise ImportError(f"{__name__} is now omnijet.export: what users need is in omnijet itself")
