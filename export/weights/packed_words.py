"""Converts packed numbers between 32-bit words, one number per byte, and the layout of ONNX.

Words are little-endian; the first number of a word or byte is in its lowest bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array

Words = Array  # u32
Bytes = Array  # u8


def plain_order(words: Words) -> Words:
    """Reorders AWQ's words, which store numbers in the order 0, 2, 4, 6, 1, 3, 5, 7."""
    even, odd = _spread(words & 0xFFFF), _spread(words >> 16)
    plain: Words = even | odd << 4
    return plain


def _spread(words: Words) -> Words:
    """Moves the four numbers of the low half to every second place."""
    words = (words | words << 8) & 0x00FF00FF
    spread: Words = (words | words << 4) & 0x0F0F0F0F
    return spread


def unpack_columns(words: Words, bits: int) -> Bytes:
    """Unpacks u32[rows, n] into u8[rows, n * 32 / bits], one number per byte."""
    data = words.view(np.uint8)
    if bits == 8:
        return data
    return np.stack((data & 15, data >> 4), axis=-1).reshape(data.shape[0], -1)


def unpack_rows(words: Words, bits: int) -> Bytes:
    """Unpacks u32[n, columns], packed along the rows, into u8[n * 32 / bits, columns]."""
    data = words.view(np.uint8).reshape(*words.shape, 4).transpose(0, 2, 1)
    parts = (data,) if bits == 8 else (data & 15, data >> 4)
    return np.stack(parts, axis=2).reshape(-1, words.shape[1])


def pack_columns(numbers: Bytes, bits: int) -> Bytes:
    """Packs u8[rows, n] as ONNX does: 4-bit numbers share a byte in pairs, u8[rows, n / 2]."""
    return numbers if bits == 8 else numbers[:, ::2] | numbers[:, 1::2] << 4


def as_words(tensor: Any) -> Words:
    """Views an i32 tensor of the checkpoint as u32 words."""
    words: Words = tensor.numpy().view(np.uint32)
    return words
