"""What is freed goes back to the system: glibc's malloc, told once for the whole process."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
THRESHOLD_BYTES = 128 << 10  # where glibc begins


def keep_heap_small() -> bool:
    """Settles two things that glibc adapts to the past, for streams have threads of their own
    and what they allocate is seldom of the same size twice:

    * From 128 kB on, a block is given back when it is freed. glibc raises that to the largest
      block ever freed, up to 32 MB, and keeps what lies below in heaps full of holes.
    * There is one heap. glibc makes up to eight for each core, and every new thread may get one
      where others left holes.

    Without, a thousand turns of Omnijet-nano come to half as much memory again, with no time
    gained. Source: `man mallopt`.

    Returns:
        Whether it was done: not where the C library is another one, or where the user has
        settled it (`MALLOC_...`, `GLIBC_TUNABLES` in the environment).
    """
    if sys.platform != "linux" or _settled(os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES)) and bool(mallopt(M_ARENA_MAX, 1))


def _settled(environment: Mapping[str, str]) -> bool:
    return any(
        name.startswith("MALLOC_") for name in environment
    ) or "glibc.malloc" in environment.get("GLIBC_TUNABLES", "")
