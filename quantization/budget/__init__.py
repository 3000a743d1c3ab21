"""Finds the smallest mix of precisions that keeps a budget."""
