"""What is freed goes back to the system: glibc's malloc, told once for the whole process."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
THRESHOLD_BYTES = 128 << 10  # where glibc begins


def keep_heap_small() -> bool:
    """For a host that talks for long and does nothing else: call it once, at the start. Nothing
    of omnijet calls it, for it is the process's choice: torch in the same process, which
    allocates every result anew, takes up to 2.7 times as long.

    It settles two things that glibc adapts to the past, for streams have threads of their own
    and what they allocate is seldom of the same size twice:

    * From 128 kB on, a block is given back when it is freed. glibc raises that to the largest
      block ever freed, up to 32 MB, and keeps what lies below in heaps full of holes.
    * There is one heap. glibc makes up to eight for each core, and every new thread may get one
      where others left holes.

    Without, a few hundred turns of Omnijet-nano come to half as much memory again; turns take
    as long with it as without. Source: `man mallopt`.

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
