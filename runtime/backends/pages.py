"""Memory in pages of its own."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array

PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
)
"""What mmap is given: without it, pages would be shared with processes that are forked."""
HUGE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
LEAST_BYTES = 1 << 20  # smaller arrays share pages with others


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Returns zeros that take memory as they are written, and give it back when they are freed.

    The heap keeps what is freed between other arrays: caches that grow would leave holes in it,
    each too small for the next cache, and the process would hold two sets of them. The pages are
    private, so that they count as this process's own, and large where the system has such.
    """
    count = math.prod(shape)
    if count * dtype.itemsize < LEAST_BYTES:
        return np.zeros(shape, dtype)
    try:
        pages = mmap.mmap(-1, count * dtype.itemsize, **PRIVATE)
    except OSError as error:
        raise MemoryError(str(error)) from error
    if HUGE is not None:
        with suppress(OSError):  # a kernel without them
            pages.madvise(HUGE)
    return np.frombuffer(pages, dtype, count).reshape(shape)
