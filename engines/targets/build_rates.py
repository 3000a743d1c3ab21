"""How much memory builders take, as measured or published: no graph is read for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from omnijet.engines.targets.toolkits import Library


class Counted(Protocol):
    """The bytes of a graph's weights, see `omnijet.engines.build_memory.WeightBytes`."""

    @property
    def total(self) -> int: ...

    @property
    def packed(self) -> int: ...

    @property
    def largest(self) -> int: ...


SYSTEM_BYTES = 1_500_000_000
"""Memory that a Jetson's system keeps for itself: an estimate."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Memory of a builder: a fixed number of bytes, and a factor for each byte of weights."""

    base: int
    each: float
    packed: float = 0.0
    largest: float = 0.0


RATES: Mapping[Library, Rates] = {
    # see `UNMEASURED`
    "tensorrt": Rates(1_000_000_000, 4.0),
    # measured with 1.7.1 (peak of the process): all 85 engines of a 3B took between 0.75 and
    # 1.15 times this, those of the Thinker 0.9 to 1.05; at nano dimensions 0.31 to 0.53 GB
    "tensorrt_rtx": Rates(900_000_000, 2.0, packed=1.0, largest=0.75),
    # measured with 1.32: the optimizer holds all weights, at 3B 0.53 GB for the vocoder's 0.46. To
    # read a lowered graph takes 0.07 GB; to lower it, one tensor after another
    "onnxruntime": Rates(300_000_000, 1.0, largest=2.0),
}
UNMEASURED: Mapping[Library, str] = {
    "tensorrt": "published are 3 to 4 times the bytes of the weights for builds on a device; "
    "others report once their bytes for INT4 and 2 to 3 times for FP16 (edgeserve)",
}
"""What a rate rests on that was not measured here. Such a rate warns and refuses nothing: what a
build takes at least is then that of TensorRT-RTX, which was measured and has the same builder."""
MAPPED: Mapping[Library, float] = {"tensorrt_rtx": 0.8, "onnxruntime": 0.6}
"""Share of the weights that is mapped file pages at the peak (5.1 of 6.2 GB). The system can take
these pages back when memory is short."""


def least_bytes(weights: Counted, library: Library) -> int:
    """Returns the memory without which a build is refused; it was measured."""
    measured: Library = "tensorrt_rtx" if library in UNMEASURED else library
    return predicted_bytes(weights, measured) - round(MAPPED[measured] * weights.total)


def predicted_bytes(weights: Counted, library: Library) -> int:
    """Returns the peak memory of the process that builds this graph."""
    rates = RATES[library]
    return round(
        rates.base
        + rates.each * weights.total
        + rates.packed * weights.packed
        + rates.largest * weights.largest
    )
