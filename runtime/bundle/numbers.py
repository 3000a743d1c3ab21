"""Finds values that are not finite in stored tensors, by their bits: numpy lacks some dtypes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from omnijet.runtime.bundle.contract import Array

_BLOCK = 4 << 20  # values
EXPONENTS: dict[str, tuple[str, int]] = {
    "float64": ("u8", 0x7FF0000000000000),
    "float32": ("u4", 0x7F800000),
    "float16": ("u2", 0x7C00),
    "bfloat16": ("u2", 0x7F80),
    "float8e5m2": ("u1", 0x7C),
    "float8e4m3fn": ("u1", 0x7F),
}
"""Of each dtype the integers that hold it, and the bits that are all set in NaN and infinity."""


class Odd:
    """Counts the values of one tensor that are not finite.

    Args:
        dtype: The dtype, as a manifest has it. Values of other dtypes than floats are finite.
        shape: The tensor's shape.
    """

    def __init__(self, dtype: str, shape: Sequence[int]) -> None:
        self.bits, self._mask = EXPONENTS.get(dtype, ("u1", 0))
        self._shape = tuple(shape)
        self._first: int | None = None
        self._seen = self._count = 0

    def add(self, values: Array) -> None:
        """Looks at the next values, in the order in which they are stored."""
        for start in range(0, values.size, _BLOCK) if self._mask else ():
            bits = values[start : start + _BLOCK].view(self.bits)
            wrong = (bits & bits.dtype.type(self._mask)) == self._mask
            count = int(np.count_nonzero(wrong))
            if count and self._first is None:
                self._first = self._seen + start + int(wrong.argmax())
            self._count += count
        self._seen += values.size

    def __str__(self) -> str:
        """Says where the first of them is, and how many there are; empty if there is none."""
        if self._first is None:
            return ""
        place = [int(index) for index in np.unravel_index(self._first, self._shape or (1,))]
        total = math.prod(self._shape)
        return f"NaN or infinite at {place}, {self._count} of {total} values"
