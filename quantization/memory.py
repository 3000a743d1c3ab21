"""How many processes may round layers beside each other in the memory that is free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from omnijet.quantization.layers import Layer
from omnijet.quantization.rounding_job import peak_bytes
from omnijet.quantization.schemes import Scheme
from omnijet.quantization.workers import core_count
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.memory import free_bytes

FEWEST = 64 << 20
"""Weights below which rounding takes seconds and is done in this process."""
PROCESS_BYTES = 150 << 20
"""Memory of a process of ours before it reads anything (measured: 110 MB)."""
STORED_COPIES = 3
"""Copies of a layer's rounded weights, one byte each, while it is written."""


def worker_count(plan: Mapping[Layer, Scheme], is_calibrated: bool) -> int:
    """Returns how many processes round the layers of a plan; 0: this process does it alone.

    Raises:
        OmnijetError: memory does not even suffice for one.
    """
    if sum(layer.parameters for layer in plan) < FEWEST:
        return 0
    each, rest = needed_bytes(plan, is_calibrated)
    free = free_bytes()
    if free < each + rest:
        raise OmnijetError(
            "there is too little memory to quantize the largest layer of the bundle",
            where="this machine",
            expected=f"{(each + rest) / 1e9:.1f} GB free",
            got=f"{free / 1e9:.1f} GB free",
            fix="close other programs or add swap; or quantize on a larger machine and copy the "
            "bundle from there",
        )
    return int(max(1, min(core_count(), (free - rest) // each)))


def needed_bytes(plan: Mapping[Layer, Scheme], is_calibrated: bool) -> tuple[int, int]:
    """Returns the memory of each further process, and that of this one with what waits for it."""
    groups: defaultdict[tuple[str, str, Scheme], list[Layer]] = defaultdict(list)
    for layer, scheme in plan.items():
        groups[layer.graph, layer.activation, scheme].append(layer)
    each = max(
        peak_bytes(layers, scheme, is_calibrated) for (_, _, scheme), layers in groups.items()
    )
    rest = PROCESS_BYTES + STORED_COPIES * max(layer.parameters for layer in plan)
    return PROCESS_BYTES + each, rest
