"""The cheapest mix of precisions."""
