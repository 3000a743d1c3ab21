"""A cluster of Ray: how this process joins or starts one, and what its processes see."""
