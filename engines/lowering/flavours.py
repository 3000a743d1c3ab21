"""The forms that graphs are lowered to, by name.

The form of a target follows from its library and version
(`omnijet.engines.targets.toolkits.Toolkit.flavour`).
"""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.engines.lowering import cpu, decomposed, native
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.fused import cpu as fused_cpu
from omnijet.engines.lowering.fused import cuda as fused_cuda
from omnijet.engines.lowering.fused import decomposed_cpu
from omnijet.engines.targets.target import Target
from omnijet.engines.targets.toolkits import Flavour

FLAVOURS: Mapping[Flavour, Lowering] = {
    "native": native.lower,
    "decomposed": decomposed.lower,
    "cpu": cpu.lower,
    "fused-cpu": fused_cpu.lower,
    "fused-cuda": fused_cuda.lower,
    "decomposed-cpu": decomposed_cpu.lower,
}
DENSE = "native, int8 blocks as floats"


def flavour_for(target: Target) -> Lowering:
    """Returns the lowering of canonical graphs for this target."""
    return native.lower_dense if form_of(target) == DENSE else FLAVOURS[target.flavour]


def form_of(target: Target) -> str:
    """Returns the name of a target's form; targets of one form get the same graphs."""
    if target.flavour == "native" and not target.toolkit.has_int8_blocks:
        return DENSE
    return target.flavour
