"""What is said of dimensions alone is what torch and graph files have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.modules.base import TORCH_DTYPES
from omnijet.export.modules.graph_modules import graph_modules
from omnijet.export.synthetic.presets import PRESETS, preset
from omnijet.quantization.quantize import bundle_layers
from omnijet.quantization.sizes.layers import layers_of_dims
from omnijet.quantization.sizes.parameters import parameters_of
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.folder import Bundle

PRECISIONS: tuple[Precision, ...] = ("f32", "f16", "bf16")


def by_torch(dims: ModelDims, precision: Precision) -> dict[str, list[object]]:
    return {
        graph: [(name, tuple(one.shape), one.dtype) for name, one in module.named_parameters()]
        for graph, module in graph_modules(dims, precision).items()
    }


def by_dims(dims: ModelDims, precision: Precision) -> dict[str, list[object]]:
    dtypes = {None: torch.float32, "f16": TORCH_DTYPES["f16"], "bf16": TORCH_DTYPES["bf16"]}
    return {
        graph: [(one.name, one.shape, dtypes[one.half]) for one in parameters]
        for graph, parameters in parameters_of(dims, precision).items()
    }


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", PRESETS)
def test_the_parameters_are_those_of_the_modules(name: str, precision: Precision) -> None:
    dims = read_dims(preset(name), None, name)
    assert by_dims(dims, precision) == by_torch(dims, precision)


def test_a_model_without_a_voice_and_a_dit_in_f16() -> None:
    dims = read_dims(preset("nano"), None, "nano")
    mute = replace(dims, speech=None)
    assert by_dims(mute, "f16") == by_torch(mute, "f16")
    assert dims.speech is not None
    dit = replace(dims.speech.dit, products="f16")
    narrow = replace(dims, speech=replace(dims.speech, dit=dit))
    assert by_dims(narrow, "f32") == by_torch(narrow, "f32") != by_torch(dims, "f32")


@pytest.mark.parametrize("fixture", ["nano", "nano_f16"])
def test_the_layers_are_those_of_the_graphs(request: pytest.FixtureRequest, fixture: str) -> None:
    found = request.getfixturevalue(fixture)
    bundle = Bundle.open(found if isinstance(found, Path) else found[1])
    read = [replace(layer, activation="") for layer in bundle_layers(bundle)]
    assert layers_of_dims(bundle.manifest.dims, bundle.manifest.precision) == read
    assert len(read) > 20
