"""What can be seen, said and asked."""
