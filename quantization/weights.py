"""Quantized weights of one layer, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from omnijet.runtime.bundle.contract import Array


@dataclass(frozen=True, slots=True)
class BlockWeight:
    """Integers with a scale for each block of input features.

    Attributes:
        values: i8[inputs, outputs] without zero points, else u8[inputs, outputs]; of 4 bits
            one in each byte, -8 to 7 or 0 to 15.
        scales: f32[inputs / block, outputs], positive.
        zeros: u8[inputs / block, outputs], or None if symmetric.
    """

    bits: Literal[4, 8]
    block: int
    values: Array
    scales: Array
    zeros: Array | None = None

    def stored_bytes(self, itemsize: int) -> int:
        """On disk, with scales of so many bytes."""
        packed = (self.values.size * self.bits + 7) // 8
        zeros = 0 if self.zeros is None else (self.zeros.size * self.bits + 7) // 8
        return int(packed + zeros + itemsize * self.scales.size)

    def dequantized(self) -> Array:
        """f32[inputs, outputs]."""
        blocks = self.values.reshape(-1, self.block, self.values.shape[1]).astype(np.float32)
        if self.zeros is not None:
            blocks -= self.zeros[:, None].astype(np.float32)
        product: Array = (blocks * self.scales[:, None]).reshape(self.values.shape)
        return product

    def columns(self, part: slice) -> BlockWeight:
        """Of some output features."""
        zeros = None if self.zeros is None else self.zeros[:, part]
        return BlockWeight(self.bits, self.block, self.values[:, part], self.scales[:, part], zeros)


@dataclass(frozen=True, slots=True)
class ChannelWeight:
    """Values with a scale for each output feature.

    Attributes:
        values: i8 or float8_e4m3fn (ml_dtypes), [inputs, outputs].
        scales: f32[outputs], positive.
    """

    dtype: Literal["int8", "fp8"]
    values: Array
    scales: Array

    def stored_bytes(self, itemsize: int) -> int:
        """On disk, with scales of so many bytes."""
        return int(self.values.nbytes + itemsize * self.scales.size)

    def dequantized(self) -> Array:
        """f32[inputs, outputs]."""
        product: Array = self.values.astype(np.float32) * self.scales
        return product

    def columns(self, part: slice) -> ChannelWeight:
        """Of some output features."""
        return ChannelWeight(self.dtype, self.values[:, part], self.scales[part])


@dataclass(frozen=True, slots=True)
class Change:
    """All that happens to a layer.

    Attributes:
        weight: with `divisor` multiplied into it already.
        divisor: f32[inputs], by which the activation is divided; None divides nothing.
        activation_scale: of the divided activation, for weights and activations of 8 bits;
            None leaves activations as they are.
    """

    weight: BlockWeight | ChannelWeight
    divisor: Array | None = None
    activation_scale: float | None = None
