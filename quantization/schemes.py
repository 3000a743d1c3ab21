"""Quantization schemes: what the weights and the activations of a layer become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from omnijet.engines.targets.target import Numbers

EightBits = Literal["int8", "fp8"]
"""Symmetric INT8, or FP8 E4M3."""
WeightDtype = Literal["int4", "int8", "fp8"]
Block = Literal[32, 64, 128]
"""How many input features share a scale."""
BLOCKS: tuple[Block, ...] = get_args(Block)
Ranging = Literal["max", "percentile", "entropy", "mse"]
"""How the range of an activation is chosen from what calibration saw."""
Half = Literal["f16", "bf16"] | None
"""Floats of 16 bits; None: f32."""

_WEIGHT_NUMBERS: dict[WeightDtype, Numbers] = {
    "int4": "int4 weights",
    "int8": "int8 weights",
    "fp8": "fp8",
}


@dataclass(frozen=True, slots=True)
class WeightScheme:
    """How the weight of a layer is rounded.

    Attributes:
        block: number of input features that share a scale; None: one scale for each output
            feature. INT4 needs blocks, FP8 has none.
        symmetric: there are no zero points. Only blocks can have zero points.
        scaling: weights that large activations meet are scaled up before they are rounded
            (AWQ, Lin et al. 2023, arXiv:2306.00978). Blocks only.
        compensated: following input features make good what rounding one of them loses
            (GPTQ, Frantar et al. 2022, arXiv:2210.17323). Blocks only.
    """

    dtype: WeightDtype
    block: Block | None = 64
    symmetric: bool = True
    scaling: bool = False
    compensated: bool = False

    def __post_init__(self) -> None:
        plain = self.symmetric and not self.scaling and not self.compensated
        possible = (self.dtype != "int4" and plain) if self.block is None else self.dtype != "fp8"
        assert possible, self

    @property
    def bits(self) -> Literal[4, 8]:
        return 4 if self.dtype == "int4" else 8

    def fits(self, inputs: int) -> bool:
        """Returns whether a weight with this many input features falls into whole blocks."""
        return self.block is None or inputs % self.block == 0

    def bytes_of(self, inputs: int, outputs: int, itemsize: int) -> int:
        """Returns the bytes of a weight with whole blocks and scales of `itemsize` bytes."""
        scales = outputs * (1 if self.block is None else inputs // self.block)
        zeros = 0 if self.symmetric else self.bits
        return (inputs * outputs * self.bits + scales * (8 * itemsize + zeros)) // 8

    def __str__(self) -> str:
        if self.block is None:
            return f"{self.dtype} weights"
        extra = [name for name, on in (("zero points", not self.symmetric), ("AWQ", self.scaling),
                                       ("GPTQ", self.compensated)) if on]  # fmt: skip
        return " ".join([f"{self.dtype} weights, blocks of {self.block}", *extra])


@dataclass(frozen=True, slots=True)
class ActivationScheme:
    """How the activation of a layer is rounded: with one scale, fixed by calibration.

    Attributes:
        migration: strength with which large activations are moved into the weights before
            (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438); None moves nothing.
    """

    dtype: EightBits
    ranging: Ranging = "max"
    migration: float | None = None

    def __str__(self) -> str:
        moved = "" if self.migration is None else f", migration {self.migration:g}"
        return f"{self.dtype} activations ({self.ranging}{moved})"


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a layer becomes.

    Attributes:
        activations: None: they stay floats.
    """

    weights: WeightScheme
    activations: ActivationScheme | None = None

    def __post_init__(self) -> None:
        # AWQ and SmoothQuant each choose the one divisor that an activation can have
        moved = self.activations is not None and self.activations.migration is not None
        assert not (self.weights.scaling and moved), self

    @property
    def calibrated(self) -> bool:
        """Whether rounding needs statistics of the activations."""
        weights = self.weights
        return weights.scaling or weights.compensated or self.activations is not None

    @property
    def needs(self) -> frozenset[Numbers]:
        """Types that a target must compute with, besides floats."""
        if self.activations is None:
            return frozenset({_WEIGHT_NUMBERS[self.weights.dtype]})
        if self._is_uniform:
            return frozenset({self.activations.dtype})
        return frozenset({_WEIGHT_NUMBERS[self.weights.dtype], self.activations.dtype})

    @property
    def _is_uniform(self) -> bool:
        """Whether weights and activations have one type and no blocks."""
        rounded = self.activations
        return rounded is not None and self.weights == WeightScheme(rounded.dtype, None)

    def __str__(self) -> str:
        if self.activations is None:
            return str(self.weights)
        if self._is_uniform:
            return f"{self.weights} and {str(self.activations).partition(' ')[2]}"
        return f"{self.weights}, {self.activations}"


def both(dtype: EightBits, ranging: Ranging = "max", migration: float | None = None) -> Scheme:
    """Returns the scheme of weights and activations of one type, as tensor cores multiply them.

    Weights have a scale for each output feature.
    """
    return Scheme(WeightScheme(dtype, None), ActivationScheme(dtype, ranging, migration))


def needs_of(schemes: Iterable[Scheme]) -> frozenset[Numbers]:
    """Returns what a target must compute with to run layers of all these schemes."""
    return frozenset(numbers for scheme in schemes for numbers in scheme.needs)
