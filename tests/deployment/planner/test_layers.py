"""Layers and floats counted from dimensions are those of the modules that are exported."""

from __future__ import annotations

import pytest

from omnijet.deployment.planner.layers import layers_of, other_floats
from omnijet.deployment.planner.model import Model
from omnijet.export.modules.graph_modules import graph_modules
from omnijet.runtime.bundle.contract import Precision


@pytest.mark.parametrize("name", ["nano", "nano-7b", "slim", "3b", "7b"])
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_they_are_those_of_the_modules(name: str, precision: Precision) -> None:
    dims = Model.named(name).dims
    layers, others = layers_of(dims, precision), other_floats(dims, precision)
    modules = graph_modules(dims, precision)
    assert set(modules) == set(others)
    for graph, (wide, narrow) in others.items():
        ours = {layer.name: layer for layer in layers if layer.graph == graph}
        seen, rest = set(), {4: 0, 2: 0}
        for path, value in modules[graph].named_parameters():
            if path in ours:
                layer = ours[path]
                assert tuple(value.shape) == (layer.inputs, layer.outputs), path
                assert value.element_size() == layer.itemsize, path
                seen.add(path)
            else:
                rest[value.element_size()] += value.numel()
        assert seen == set(ours), graph
        assert (rest[4], rest[2]) == (wide, narrow), graph
