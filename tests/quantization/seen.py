"""What a calibration could have seen, without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from omnijet.quantization.calibration.state import Place
from omnijet.quantization.layers import Layer
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.quantize import bundle_layers
from omnijet.runtime.bundle.folder import Bundle
from tests.quantization.activations import correlated


def plausible(bundle: Bundle) -> Mapping[Place, Statistics]:
    """Returns statistics of every activation of a bundle."""
    return plausible_of(bundle_layers(bundle))


def plausible_of(layers: Iterable[Layer]) -> Mapping[Place, Statistics]:
    """Returns statistics of the layers' activations: a few rows with two loud features, which are
    the same rows wherever an activation has as many features.
    """
    by_width: dict[int, Statistics] = {}
    seen: dict[Place, Statistics] = {}
    for layer in layers:
        if layer.inputs not in by_width:
            by_width[layer.inputs] = Statistics(layer.inputs, 0, sample_rows=32)
            by_width[layer.inputs].update(correlated(layer.inputs, 2)(64))
        seen[layer.graph, layer.activation] = by_width[layer.inputs]
    return seen
