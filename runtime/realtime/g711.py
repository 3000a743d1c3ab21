"""G.711: the telephone's sound of 8 bits a sample, mu-law and A-law.

The tables are computed from the segments of ITU-T G.711: sign, three bits of exponent, four of
mantissa.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Law = Literal["pcmu", "pcma"]
Int16 = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]


def decoded(data: bytes, law: Law) -> Int16:
    """Returns int16[n] of n bytes."""
    return _levels(law)[np.frombuffer(data, np.uint8)]


def encoded(samples: Int16, law: Law) -> bytes:
    """Returns a byte for each of int16[n]: the code of the nearest level."""
    return _codes(law)[samples.astype(np.int32) + 32768].tobytes()


@lru_cache(maxsize=2)
def _levels(law: Law) -> Int16:
    """Returns the level of each code: int16[256]."""
    codes = np.arange(256, dtype=np.int32)
    codes = codes ^ (0xFF if law == "pcmu" else 0x55)  # bits go inverted over the line
    sign, exponent, mantissa = codes & 0x80, (codes >> 4) & 7, codes & 15
    if law == "pcmu":
        size = (((mantissa << 3) + 0x84) << exponent) - 0x84
        return np.where(sign, -size, size).astype(np.int16)
    size = (mantissa << 4) + 8
    size = np.where(exponent > 0, (size + 0x100) << np.maximum(exponent - 1, 0), size)
    return np.where(sign, size, -size).astype(np.int16)


@lru_cache(maxsize=2)
def _codes(law: Law) -> Bytes:
    """Returns the code of every sample from -32768: uint8[65536]."""
    levels = _levels(law).astype(np.int32)
    order = np.argsort(levels, kind="stable")
    ranked = levels[order]
    samples = np.arange(-32768, 32768, dtype=np.int32)
    above = np.clip(np.searchsorted(ranked, samples), 1, len(ranked) - 1)
    nearer = np.where(samples - ranked[above - 1] <= ranked[above] - samples, above - 1, above)
    return order[nearer].astype(np.uint8)
