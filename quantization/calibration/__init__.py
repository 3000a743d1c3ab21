"""What activations are like, from conversations."""
