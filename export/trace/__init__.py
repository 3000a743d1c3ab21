"""From a torch module to a canonical graph without weights."""
