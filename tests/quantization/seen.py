"""What a calibration could have seen, without one."""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.quantization.calibration.state import Place
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.quantize import bundle_layers
from omnijet.runtime.bundle.folder import Bundle
from tests.quantization.activations import correlated


def plausible(bundle: Bundle) -> Mapping[Place, Statistics]:
    """Returns statistics of every activation: a few rows with two loud features."""
    seen: dict[Place, Statistics] = {}
    for layer in bundle_layers(bundle):
        place = layer.graph, layer.activation
        if place not in seen:
            seen[place] = Statistics(layer.inputs, 0, sample_rows=32)
            seen[place].update(correlated(layer.inputs, 2, len(seen))(64))
    return seen
