"""What memory bandwidth allows at most: a decoding step reads every weight once."""

from __future__ import annotations

from dataclasses import dataclass

from omnijet.engines.targets.devices import DEVICES
from omnijet.runtime.bundle.contract import NUMPY_DTYPES
from omnijet.runtime.bundle.dims import DecoderDims
from omnijet.runtime.bundle.manifest import Manifest

CODES_PER_S = 50  # of speech as fast as it plays


@dataclass(frozen=True, slots=True)
class SpeedBound:
    """Steps a second that nothing exceeds on a target, of both bundles.

    Attributes:
        bytes: of one step: weights alone. Caches, activations and all else come on top.
    """

    target: str
    graph: str
    float_bytes: int
    bytes: int
    float_steps_per_s: float
    steps_per_s: float


def speed_bounds(reference: Manifest, quantized: Manifest) -> tuple[SpeedBound, ...]:
    """For Thinker and Talker on every device whose memory bandwidth is known."""
    bounds = []
    for graph in ("thinker_step", "talker_step"):
        before, after = step_bytes(reference, graph), step_bytes(quantized, graph)
        for device in DEVICES.values():
            if device.bandwidth_gb_s.value is not None:
                rate = 1e9 * device.bandwidth_gb_s.value
                bound = SpeedBound(device.title, graph, before, after, rate / before, rate / after)
                bounds.append(bound)
    return tuple(bounds)


def step_bytes(manifest: Manifest, graph: str) -> int:
    """The graph's weights and the row of the embedding table that the step starts with."""
    dims: DecoderDims = getattr(manifest.dims, graph.removesuffix("_step"))
    width = NUMPY_DTYPES[manifest.precision].itemsize
    return manifest.graphs[graph].weight_bytes + dims.embed_width * width
