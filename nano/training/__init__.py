"""The training of Omnijet-nano, with one module per stage."""
