"""The ONNX Runtime that graphs need; nothing is imported to know it."""

from __future__ import annotations

OLDEST_RELEASE = (1, 25)  # has TensorScatter and its Attention on the CPU
OLDEST_TEXT = ".".join(map(str, OLDEST_RELEASE))


def is_new_enough(version: str) -> bool:
    """Returns whether an ONNX Runtime of this version knows the graphs' opset."""
    parts = version.split(".")[:2]
    return all(part.isdecimal() for part in parts) and tuple(map(int, parts)) >= OLDEST_RELEASE
