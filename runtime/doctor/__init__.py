"""`omnijet doctor`: what of this machine works, and what to type where something does not."""
