"""The latency profiler: scenarios measured, explained and compared."""
