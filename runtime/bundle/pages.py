"""How tensors lie in the weight file of a graph."""

from __future__ import annotations

PAGE = 4096
"""Bytes; each tensor begins a page of its own, so that it can be mapped."""
INLINE_BYTES = 1024
"""Tensors of at most this size stay in the graph file."""


def paged(size: int) -> int:
    """Returns what a tensor of `size` bytes takes of the weight file."""
    return 0 if size <= INLINE_BYTES else -(-size // PAGE) * PAGE
