"""Zeros in pages of their own: large arrays are freed at once, whatever the heap does."""

from __future__ import annotations

import mmap
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.backends.pages import LEAST_BYTES, zeros


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint16])
@pytest.mark.parametrize("shape", [(1, 2, 0, 8), (1, 2, 3, 8), (1, 2, 40_000, 16)], ids=str)
def test_they_are_zeros_that_can_be_written(dtype: type, shape: tuple[int, ...]) -> None:
    made = zeros(shape, np.dtype(dtype))
    assert made.shape == shape and made.dtype == dtype and not made.any()
    assert made.flags.c_contiguous and made.flags.writeable
    made[...] = 3
    assert (made == 3).all()


def test_a_large_array_is_a_mapping_that_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    maps: list[weakref.ref[mmap.mmap]] = []

    class Seen(mmap.mmap):
        def __init__(self, *args: object, **flags: object) -> None:
            maps.append(weakref.ref(self))

    monkeypatch.setattr(mmap, "mmap", Seen)
    small, large = (zeros((size,), np.dtype(np.uint8)) for size in (LEAST_BYTES - 1, LEAST_BYTES))
    assert len(maps) == 1 and maps[0]() is not None and small.size < large.size
    view = large[5:]
    del large
    assert maps[0]() is not None, "a view holds it"
    del view
    assert maps[0]() is None


def test_memory_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemoryError):
        zeros((1 << 60,), np.dtype(np.uint8))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose pages they are")
def test_they_count_as_the_process_own() -> None:
    def anonymous() -> int:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(text.split("RssAnon:")[1].split()[0]) * 1024

    size = 64 << 20
    made = zeros((size,), np.dtype(np.uint8))
    before = anonymous()
    made[...] = 1
    assert anonymous() - before > 0.9 * size
