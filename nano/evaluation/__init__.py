"""The evaluation of Omnijet-nano: scores on the held-out set."""
