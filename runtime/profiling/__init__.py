"""The latency profiler: measures, explains and compares scenarios."""
