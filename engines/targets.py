"""Machines that bundles are made for: facts with their sources.

Sources: NVIDIA's Jetson Orin and Thor data sheets and the support matrix of TensorRT (which
numbers a compute capability multiplies); memory bandwidths as published for the modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Numbers = Literal["int4 weights", "int8 weights", "int8", "fp8"]
"""What products with weights may be made of, besides floats; the last two with activations."""

INTEGERS: frozenset[Numbers] = frozenset({"int4 weights", "int8 weights", "int8"})
ALL: frozenset[Numbers] = INTEGERS | {"fp8"}


@dataclass(frozen=True, slots=True)
class Target:
    """One machine.

    Attributes:
        compute_capability: of its GPU, `sm` times ten; None: no GPU.
        bandwidth_gb_s: of memory, at its peak; None: not known.
    """

    name: str
    title: str
    compute_capability: int | None
    numbers: frozenset[Numbers]
    bandwidth_gb_s: float | None = None


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("cpu", "x86-64 or ARM, ONNX Runtime", None, INTEGERS),
        Target("orin-nano", "Jetson Orin Nano 8 GB (Super)", 87, INTEGERS, 102),
        Target("orin-nx", "Jetson Orin NX 16 GB", 87, INTEGERS, 102),
        Target("agx-orin", "Jetson AGX Orin 32 or 64 GB", 87, INTEGERS, 205),
        Target("thor", "Jetson AGX Thor", 110, ALL, 273),
        Target("ampere", "GeForce RTX 30, A10, A40", 86, INTEGERS),
        Target("ada", "GeForce RTX 40, L4, L40S", 89, ALL),
        Target("hopper", "H100, H200", 90, ALL),
        Target("blackwell", "GeForce RTX 50", 120, ALL),
    )
}
