"""Packed numbers: from 32-bit words to bytes, and two of 4 bits to a byte as ONNX has them.

Words are little-endian; the first number of a word, and of a byte, is in its lowest bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array

Words = Array  # u32
Bytes = Array  # u8


def plain_order(words: Words) -> Words:
    """AWQ's words, whose numbers lie in the order 0, 2, 4, 6, 1, 3, 5, 7, in plain order."""
    even, odd = _spread(words & 0xFFFF), _spread(words >> 16)
    plain: Words = even | odd << 4
    return plain


def _spread(words: Words) -> Words:
    """Four numbers in the low half, moved to every second place."""
    words = (words | words << 8) & 0x00FF00FF
    spread: Words = (words | words << 4) & 0x0F0F0F0F
    return spread


def unpack_columns(words: Words, bits: int) -> Bytes:
    """u32[rows, n] -> u8[rows, n * 32 / bits], a number in each byte."""
    data = words.view(np.uint8)
    if bits == 8:
        return data
    return np.stack((data & 15, data >> 4), axis=-1).reshape(data.shape[0], -1)


def unpack_rows(words: Words, bits: int) -> Bytes:
    """u32[n, columns], packed along the rows -> u8[n * 32 / bits, columns]."""
    data = words.view(np.uint8).reshape(*words.shape, 4).transpose(0, 2, 1)
    parts = (data,) if bits == 8 else (data & 15, data >> 4)
    return np.stack(parts, axis=2).reshape(-1, words.shape[1])


def pack_columns(numbers: Bytes, bits: int) -> Bytes:
    """u8[rows, n] as ONNX stores it: of 4 bits, two to a byte, u8[rows, n / 2]."""
    return numbers if bits == 8 else numbers[:, ::2] | numbers[:, 1::2] << 4


def as_words(tensor: Any) -> Words:
    """An i32 tensor of the checkpoint as words."""
    words: Words = tensor.numpy().view(np.uint32)
    return words
