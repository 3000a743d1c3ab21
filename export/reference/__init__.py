"""Records what the graphs of a bundle compute, for machines that cannot run them as they are."""
