"""Programs of the developers: demo, benchmarks, checks of full size and on GPUs."""
