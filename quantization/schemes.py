"""What a layer's weights and activations become: facts, no arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ranging = Literal["max", "percentile", "entropy", "mse"]
"""How the range of an activation is chosen from what calibration saw."""
Half = Literal["f16", "bf16"] | None
"""Floats of 16 bits; None: f32."""


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """Integer weights in blocks along the input axis; activations stay as they are.

    Attributes:
        block: input features that share a scale.
        symmetric: no zero points.
        scaling: weights that large activations meet are scaled up before they are rounded
            (AWQ, Lin et al. 2023, arXiv:2306.00978).
        compensated: what rounding one input feature loses, the following ones make good
            (GPTQ, Frantar et al. 2022, arXiv:2210.17323).
    """

    bits: Literal[4, 8]
    block: Literal[32, 64, 128] = 64
    symmetric: bool = True
    scaling: bool = False
    compensated: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether it must know the activations."""
        return self.scaling or self.compensated

    def bytes_of(self, parameters: int, itemsize: int) -> int:
        """Of a weight with whole blocks and scales of so many bytes."""
        zeros = 0 if self.symmetric else self.bits
        return (parameters * self.bits + parameters // self.block * (8 * itemsize + zeros)) // 8

    def __str__(self) -> str:
        extra = [name for name, on in (("zero points", not self.symmetric), ("AWQ", self.scaling),
                                       ("GPTQ", self.compensated)) if on]  # fmt: skip
        return " ".join([f"int{self.bits} weights, blocks of {self.block}", *extra])


@dataclass(frozen=True, slots=True)
class Static:
    """Weights with a scale for each output feature, activations with one, fixed by calibration.

    Attributes:
        dtype: of both: INT8 (symmetric), or FP8 E4M3.
        migration: strength with which large activations are moved into the weights before
            (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438); None moves nothing.
    """

    dtype: Literal["int8", "fp8"]
    ranging: Ranging = "max"
    migration: float | None = None

    @property
    def calibrated(self) -> bool:
        """Whether it must know the activations."""
        return True

    def __str__(self) -> str:
        moved = "" if self.migration is None else f", migration {self.migration:g}"
        return f"{self.dtype} weights and activations ({self.ranging}{moved})"


Scheme = WeightOnly | Static
