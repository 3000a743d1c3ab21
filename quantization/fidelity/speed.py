"""Upper bounds of decode speed from memory bandwidth: a step reads every weight once."""

from __future__ import annotations

from dataclasses import dataclass

from omnijet.engines.targets.devices import DEVICES
from omnijet.runtime.bundle.contract import NUMPY_DTYPES
from omnijet.runtime.bundle.dims import DecoderDims
from omnijet.runtime.bundle.manifest import Manifest

CODES_PER_S = 50  # of speech at playing speed


@dataclass(frozen=True, slots=True)
class SpeedBound:
    """The most decode steps a second on a device, for both bundles.

    Attributes:
        bytes: bytes of weights that one step reads; KV caches and activations are not counted.
    """

    target: str
    graph: str
    float_bytes: int
    bytes: int
    float_steps_per_s: float
    steps_per_s: float


def speed_bounds(reference: Manifest, quantized: Manifest) -> tuple[SpeedBound, ...]:
    """Returns bounds for Thinker and Talker on every device with a known memory bandwidth."""
    bounds = []
    for graph in [name for name in ("thinker_step", "talker_step") if name in reference.graphs]:
        before, after = step_bytes(reference, graph), step_bytes(quantized, graph)
        for device in DEVICES.values():
            if device.bandwidth_gb_s.value is not None:
                rate = 1e9 * device.bandwidth_gb_s.value
                bound = SpeedBound(device.title, graph, before, after, rate / before, rate / after)
                bounds.append(bound)
    return tuple(bounds)


def step_bytes(manifest: Manifest, graph: str) -> int:
    """Returns the bytes of the graph's weights and of one row of the embedding table."""
    dims: DecoderDims = getattr(manifest.dims, graph.removesuffix("_step"))
    width = NUMPY_DTYPES[manifest.precision].itemsize
    return manifest.graphs[graph].weight_bytes + dims.embed_width * width
