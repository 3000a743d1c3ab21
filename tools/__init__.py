"""Programs for developers: the demo, benchmarks, and checks at full size and on GPUs."""
