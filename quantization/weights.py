"""The quantized weight of a layer, what it stands for, and what happens to the layer with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from omnijet.quantization.schemes import EightBits, WeightDtype
from omnijet.runtime.bundle.contract import Array


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """Values of few bits with their scales.

    Attributes:
        block: input features that share a scale; None: one scale for each output feature.
        values: [inputs, outputs]; i8 without zero points, u8 with them, float8_e4m3fn
            (ml_dtypes) for FP8. INT4 takes one byte each, -8 to 7 or 0 to 15.
        scales: positive, f32[inputs / block, outputs]; without blocks f32[outputs].
        zeros: zero points, u8[inputs / block, outputs]; None if symmetric.
    """

    dtype: WeightDtype
    block: int | None
    values: Array
    scales: Array
    zeros: Array | None = None

    @property
    def bits(self) -> int:
        return 4 if self.dtype == "int4" else 8

    def stored_bytes(self, itemsize: int) -> int:
        """Returns the bytes on disk with scales of `itemsize` bytes."""
        packed = (self.values.size * self.bits + 7) // 8
        zeros = 0 if self.zeros is None else (self.zeros.size * self.bits + 7) // 8
        return int(packed + zeros + itemsize * self.scales.size)

    def dequantized(self) -> Array:
        """Returns f32[inputs, outputs]."""
        if self.block is None:
            product: Array = self.values.astype(np.float32) * self.scales
            return product
        blocks = self.values.reshape(-1, self.block, self.values.shape[1]).astype(np.float32)
        if self.zeros is not None:
            blocks -= self.zeros[:, None].astype(np.float32)
        product = (blocks * self.scales[:, None]).reshape(self.values.shape)
        return product

    def columns(self, part: slice) -> QuantizedWeight:
        """Returns the weight of some output features."""
        zeros = None if self.zeros is None else self.zeros[:, part]
        return QuantizedWeight(
            self.dtype, self.block, self.values[:, part], self.scales[..., part], zeros
        )

    @staticmethod
    def joined(parts: Sequence[QuantizedWeight]) -> QuantizedWeight:
        """Returns the weight whose output features are those of the parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return QuantizedWeight(
            first.dtype,
            first.block,
            np.concatenate([part.values for part in parts], axis=1),
            np.concatenate([part.scales for part in parts], axis=-1),
            None
            if first.zeros is None
            else np.concatenate([part.zeros for part in parts if part.zeros is not None], axis=1),
        )


@dataclass(frozen=True, slots=True)
class ActivationGrid:
    """The numbers that an activation is rounded to: multiples of `scale` within `dtype`."""

    dtype: EightBits
    scale: float


@dataclass(frozen=True, slots=True)
class Change:
    """All that happens to a layer.

    Attributes:
        weight: with `divisor` multiplied into it already.
        divisor: f32[inputs], by which the activation is divided; None divides nothing.
        activation: what the divided activation is rounded to; None leaves it as it is.
    """

    weight: QuantizedWeight
    divisor: Array | None = None
    activation: ActivationGrid | None = None

    @staticmethod
    def joined(parts: Sequence[Change]) -> Change:
        """Returns what happens to the layer whose output features are those of the parts."""
        return replace(parts[0], weight=QuantizedWeight.joined([part.weight for part in parts]))
