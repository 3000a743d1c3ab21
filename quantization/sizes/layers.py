"""The layers of all graphs of a model, without a graph."""

from __future__ import annotations

from omnijet.quantization.layers import Layer
from omnijet.quantization.sizes.parameters import parameters_of
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import ModelDims


def layers_of_dims(dims: ModelDims, precision: Precision) -> list[Layer]:
    """Returns the layers that `omnijet.quantization.quantize.bundle_layers` reads from a bundle.

    Graphs, names, shapes and dtypes are the same in the same order; `activation` is empty, because
    only a graph knows the names of its values. `Recipe.plan` needs none.

    Args:
        precision: that of the bundle.
    """
    return [
        Layer(graph, one.name, "", one.shape[0], one.shape[1], one.half)
        for graph, parameters in parameters_of(dims, precision).items()
        for one in parameters
        if one.is_layer
    ]
