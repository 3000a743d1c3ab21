"""Predicted bytes are those of bundles: to the byte, but for factors that calibration finds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
import pytest

from omnijet.engines.build_memory import WeightBytes
from omnijet.engines.lowering import native
from omnijet.quantization.quantize import plan_for, quantize_bundle
from omnijet.quantization.recipes import RECIPES, Recipe, Rule
from omnijet.quantization.schemes import Scheme, WeightScheme
from omnijet.quantization.sizes.graph_bytes import GraphBytes, bytes_of_dims
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Manifest
from tests.quantization.seen import plausible

SMALL = 4096
"""Bytes, at most, of the constants of a graph and of the scales of its activations."""
ZEROS = Recipe(
    "zeros", "",
    (Rule("thinker_step", "decoder.layers.*", Scheme(WeightScheme("int4", 32, symmetric=False))),
     Rule("talker_step", "decoder.layers.*", Scheme(WeightScheme("int8", 32, symmetric=False)))),
)  # fmt: skip


def written(source: Path, out: Path, recipe: Recipe, is_calibrated: bool = True) -> Manifest:
    bundle = Bundle.open(source)
    seen = plausible(bundle) if is_calibrated else {}
    return quantize_bundle(source, out, recipe, plan_for(bundle, recipe), seen, processes=0)


def compare(manifest: Manifest, folder: Path, found: Mapping[str, GraphBytes]) -> None:
    assert list(found) == list(manifest.graphs)
    for name, made in found.items():
        entry = manifest.graphs[name]
        assert made.file <= entry.weight_bytes <= made.most_file, name
        graph = ir.load(folder / entry.file).graph
        values = [one.const_value for one in graph.initializers.values()]
        nbytes = sum(int(value.nbytes) for value in values if value is not None)
        assert made.total <= nbytes <= made.total + made.factors + SMALL, name
        # factors are vectors: next to nothing
        assert made.factors <= 0.03 * made.total, name


@pytest.mark.parametrize("fixture", ["nano", "nano_f16"])
@pytest.mark.parametrize("name", RECIPES)
def test_bytes_of_every_recipe(
    request: pytest.FixtureRequest, fixture: str, name: str, tmp_path: Path
) -> None:
    found = request.getfixturevalue(fixture)
    source = found if isinstance(found, Path) else found[1]
    manifest = written(source, tmp_path / "out", RECIPES[name])
    predicted = bytes_of_dims(manifest.dims, manifest.precision, RECIPES[name])
    compare(manifest, tmp_path / "out", predicted)
    layers = manifest.quantization["layers"]
    for graph, made in predicted.items():
        stored = sum(one["bytes"] for one in layers.get(graph, {}).values())
        if RECIPES[name].form == "standard":  # the manifest counts before a lowering
            assert made.weights + made.scales == stored


def test_bytes_of_floats(nano: tuple[Path, Path]) -> None:
    manifest = Manifest.read(nano[1])
    found = bytes_of_dims(manifest.dims, "f32")
    compare(manifest, nano[1], found)
    for name, made in found.items():
        assert made.total == made.floats == 4 * manifest.graphs[name].parameters
        assert made.file == made.most_file == manifest.graphs[name].weight_bytes


@pytest.mark.parametrize("recipe", [RECIPES["orin-int4"], ZEROS], ids=lambda one: one.name)
def test_without_calibration_files_are_known_to_the_byte(
    nano: tuple[Path, Path], tmp_path: Path, recipe: Recipe
) -> None:
    manifest = written(nano[1], tmp_path / "out", recipe, is_calibrated=False)
    found = bytes_of_dims(manifest.dims, "f32", recipe)
    assert {name: made.file for name, made in found.items()} == {
        name: entry.weight_bytes for name, entry in manifest.graphs.items()
    }


def test_engines_of_tensorrt_have_floats_for_int8_in_blocks(nano_f16: Path, tmp_path: Path) -> None:
    manifest = written(nano_f16, tmp_path / "out", RECIPES["orin"])
    rtx = bytes_of_dims(manifest.dims, "f16", RECIPES["orin"])
    found = bytes_of_dims(manifest.dims, "f16", RECIPES["orin"], int8_blocks=False)
    graph, contract = tmp_path / "out" / "graphs" / "thinker_step.onnx", manifest.contracts
    native.lower_dense(graph, contract["thinker_step"], tmp_path / "dense", 0, lambda count: None)
    made = found["thinker_step"]
    total = WeightBytes.of(tmp_path / "dense" / graph.name).total
    assert made.total <= total <= made.total + made.factors + SMALL
    head = manifest.dims.thinker.hidden * manifest.dims.thinker.vocab
    scales = head // 64 * 2
    assert made.total - rtx["thinker_step"].total == 2 * head - head - scales
