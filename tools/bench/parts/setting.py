"""What a part of the benchmark gets: sizes, folders and the machine's rates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.omni import Omni
from tools.bench.made import Makes
from tools.bench.rates import Rates

PRESETS = {"middle": "middle", "full": "3b"}
RECIPE = "cpu-int4"
VOICE = "Chelsie"
FLOAT_BYTES = 1.9  # a parameter: fewer are those of quantized weights


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and on what a part measures.

    Attributes:
        size: "middle" or "full".
        makes: makes the bundles that are missing.
        peers: the folder of the peers' environments.
        rates: what the machine can do.
        bundle: an own bundle in place of the one that is made.
    """

    size: str
    makes: Makes
    peers: Path
    rates: Rates
    bundle: Path | None = None

    @property
    def preset(self) -> str:
        return PRESETS[self.size]

    @property
    def title(self) -> str:
        """The size as rows name it."""
        return {"middle": "middle", "full": "3B"}[self.size]

    @property
    def threads(self) -> int:
        return os.cpu_count() or 1

    def int4(self) -> Path:
        """Returns the bundle that a CPU runs fastest: INT4 decoders, the rest in 8 bits."""
        return self.bundle or self.makes.quantized(self.preset, RECIPE)

    def rate_of(self, manifest: Manifest, graph: str) -> tuple[float, str]:
        """Returns the operations per second that a graph's products may reach, and in what."""
        entry = manifest.graphs[graph]
        if entry.weight_bytes < FLOAT_BYTES * entry.parameters:
            return self.rates.int8, "in 8 bits"
        return self.rates.f32, "in f32"

    @contextmanager
    def opened(self) -> Iterator[Omni]:
        with Omni.open(self.int4()) as omni:
            yield omni
