"""How this package starts a process of Python: one that sees no module of the working folder."""
