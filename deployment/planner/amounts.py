"""Work in seconds at the peak rates of a machine, by what limits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

Kind = Literal[
    "read", "read_int8", "cache", "layers", "narrow", "int8", "half", "single", "plain",
    "dit_layers",
]  # fmt: skip
"""`read`: weights of 4 bits and floats; `cache`: keys and values; `layers`: a step of one decoder
layer, which costs a time of its own; `narrow`: products of integer weights and float activations;
`int8`: of 8-bit weights and activations; `half`, `single`: of floats; `plain`: convolutions in f32;
`dit_layers`: one layer of the DiT, as `layers`."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Seconds at peak rates, and numbers of layers."""

    read: float = 0.0
    read_int8: float = 0.0
    cache: float = 0.0
    layers: float = 0.0
    narrow: float = 0.0
    int8: float = 0.0
    half: float = 0.0
    single: float = 0.0
    plain: float = 0.0
    dit_layers: float = 0.0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*(getattr(self, one) + getattr(other, one) for one in KINDS))

    def __mul__(self, times: float) -> Amounts:
        return Amounts(*(getattr(self, one) * times for one in KINDS))

    def seconds(self, costs: Mapping[str, float]) -> float:
        """Returns the time of the work.

        Args:
            costs: by kind, how many times longer than at the peak; of layers, the seconds of one.
        """
        return float(sum(getattr(self, one) * costs[one] for one in KINDS))

    def row(self, kinds: tuple[str, ...]) -> list[float]:
        """Returns the amounts of some kinds, in their order."""
        return [getattr(self, one) for one in kinds]


KINDS = tuple(field.name for field in fields(Amounts))
