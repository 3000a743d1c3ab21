"""`omnijet deploy`: from a checkpoint to an assistant that was measured on its device."""
