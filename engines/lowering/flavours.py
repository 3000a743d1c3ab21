"""The forms that graphs are lowered to, by name. Which one a target takes follows from its
library and version (`engines.toolkits.Toolkit.flavour`)."""

from __future__ import annotations

from collections.abc import Mapping

from engines.lowering import cpu, decomposed, native
from engines.lowering.frame import Lowering
from engines.targets import Target
from engines.toolkits import Flavour

FLAVOURS: Mapping[Flavour, Lowering] = {
    "native": native.lower,
    "decomposed": decomposed.lower,
    "cpu": cpu.lower,
}


def flavour_for(target: Target) -> Lowering:
    """What makes a canonical graph fit for this target."""
    return FLAVOURS[target.flavour]
