"""The blocked layout of ONNX Runtime's convolutions on x86-64, and its operators.

A signal [1, channels, 1, samples] lies in memory as [channels / block, samples, block], where a
block fills a vector register. ONNX Runtime converts around each convolution whatever it does not
know in this form, such as a sine. Written by us, everything between the convolutions works in the
blocked form, too: neighbours in time are 64 bytes apart, so that padding, shifting and taking every
fourth sample move whole cache lines.

Source: `NchwcConv`, `ReorderInput` and `ReorderOutput` of ONNX Runtime 1.32 (`nchwc_ops.cc`), and
`MlasReorderFilterOIHWBiBo` and `...OIHWBo` of its kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from omnijet.runtime.backends.instructions import instruction_sets
from omnijet.runtime.bundle.contract import Array

DOMAIN = "com.microsoft.nchwc"
VERSION = 1

Sizes = tuple[ir.Value, ...]
"""Numbers i64[1] and shapes, computed from a signal's length where the graph runs."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A blocked signal.

    Attributes:
        value: f32[1, padded channels, 1, samples].
        length: i64[1], its samples; a signal between two filters has none.
    """

    value: ir.Value
    channels: int
    length: ir.Value | None = None


def block_size() -> int:
    """Returns the channels of a block on this machine: 16 with AVX-512, 8 with AVX2; 0: none.

    Source: `MLAS_PLATFORM::MLAS_PLATFORM` of ONNX Runtime 1.32.
    """
    machine, *known = instruction_sets()
    if machine not in ("x86_64", "amd64"):
        return 0
    if "avx512f" in known:
        return 16
    return 8 if "avx2" in known else 0


def padded(channels: int, block: int) -> int:
    """Returns the channels with those that fill the last block."""
    return -(-channels // block) * block


def dense(weight: Array, block: int) -> Array:
    """Blocks a convolution's weight f32[out, in, 1, taps]; missing channels are zeros.

    Returns:
        f32[padded out, padded in, 1, taps], in memory [out blocks, in blocks, taps, in, out].
    """
    outputs, inputs, _, taps = weight.shape
    full = np.zeros((padded(outputs, block), padded(inputs, block), taps), np.float32)
    full[:outputs, :inputs] = weight[:, :, 0]
    parts = full.reshape(full.shape[0] // block, block, full.shape[1] // block, block, taps)
    placed = np.ascontiguousarray(parts.transpose(0, 2, 4, 3, 1))
    return placed.reshape(full.shape[0], full.shape[1], 1, taps)


def depthwise(weight: Array, block: int) -> Array:
    """Blocks the filters f32[channels, taps] of a convolution of each channel by itself.

    Returns:
        f32[padded channels, 1, 1, taps], in memory [blocks, taps, channels of a block].
    """
    channels, taps = weight.shape
    full = np.zeros((padded(channels, block), taps), np.float32)
    full[:channels] = weight
    parts = full.reshape(-1, block, taps).transpose(0, 2, 1)
    return np.ascontiguousarray(parts).reshape(len(full), 1, 1, taps)


def filled(vector: Array, block: int, value: float = 0.0) -> Array:
    """Fills a vector f32[channels] up to whole blocks."""
    full = np.full(padded(len(vector), block), value, np.float32)
    full[: len(vector)] = vector
    return full
