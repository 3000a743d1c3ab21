"""A decomposed graph computes the same as the canonical one, in operators of TensorRT 10.3."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from omnijet.engines.lowering import decomposed
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.parser_10_3 import OPERATORS
from omnijet.engines.lowering.widened import widen
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import GraphEntry, Manifest
from omnijet.runtime.errors import OmnijetError
from tests.quantization.graphs import SIZES, AnyOperators, error, feeds, quantize, run, run_widened

GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step", "vocoder")
LARGER = {
    "chunks": 5, "tokens": 7, "cells": 66, "windows": 12, "rows": 37, "capacity": 131,
    "branches": 1, "blocks": 2, "frames": 61, "picked": 8, "pictures": 3, "picture_cells": 22,
}  # fmt: skip
LIMITS = {"f32": 2e-5, "f16": 2e-3, "bf16": 2e-2}
"""Limits of error relative to the canonical output: some roundings of a dtype's last bit, through
all layers."""


def lowered(
    bundle: Path, graph: str, folder: Path, kind: str = "none", layers: slice = slice(None)
) -> tuple[GraphContract, Path, Path, GraphEntry]:
    """Returns (contract, canonical file, lowered file, entry of the lowered graph)."""
    contract = Manifest.read(bundle).contracts[graph]
    source = bundle / "graphs" / f"{graph}.onnx"
    if kind != "none":
        quantize(source, contract, folder / "canonical", kind, True, layers)
        source = folder / "canonical" / f"{graph}.onnx"
    entry = decomposed.lower(source, contract, folder / "lowered", 7, lambda count: None)
    return contract, source, folder / "lowered" / f"{graph}.onnx", entry


def assert_known_to_tensorrt(path: Path, opset: int) -> None:
    """Checks that TensorRT 10.3 has all operators, in bodies of loops too."""
    model = onnx.load(path, load_external_data=False)
    found = {node.op_type for node in ir.traversal.RecursiveGraphIterator(ir.load(path).graph)}
    assert found <= OPERATORS
    assert not found & {"Attention", "RotaryEmbedding", "RMSNormalization", "TensorScatter"}
    assert [(one.domain, one.version) for one in model.opset_import] == [("", opset)]
    assert model.ir_version == (10 if opset == 21 else 9)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)  # shapes say what tensors are


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("bundle", ["trained", "trained_f16", "nano_7b"])
def test_a_decomposed_graph_equals_the_canonical_one(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: str, graph: str
) -> None:
    folder = request.getfixturevalue(bundle)[1]
    contract, source, path, entry = lowered(folder, graph, tmp_path)
    assert_known_to_tensorrt(path, 20)
    assert entry.opset == 20 and entry.parameters == 7
    half = bundle.endswith("f16") and graph not in ("dit_step", "vocoder")
    for seed, sizes in enumerate((SIZES, LARGER)):
        inputs = feeds(contract, seed, sizes)
        wanted = run(source, inputs, optimize=False)
        for optimize in (False, True):
            found = run(path, inputs, optimize=optimize)
            assert error(found, wanted) < LIMITS["f16" if half else "f32"]


def typed(path: Path) -> ir.Model:
    """Loads a graph with the dtype of every value, which widening needs; weights are not read."""
    model = onnx.load(path, load_external_data=False)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=True))


@pytest.mark.parametrize(
    ("graph", "kind"), [*((graph, "none") for graph in GRAPHS[:4]), ("thinker_step", "int4")]
)
def test_a_decomposed_graph_in_bf16(
    trained_bf16: tuple[Path, Path], tmp_path: Path, graph: str, kind: str
) -> None:
    """Both graphs are widened; the lowered one has more roundings of 2^-9, some of scores."""
    contract, source, path, _ = lowered(trained_bf16[1], graph, tmp_path, kind)
    assert_known_to_tensorrt(path, 21 if kind == "int4" else 20)
    model = typed(path)
    dtypes = {value.dtype for node in model.graph for value in node.outputs}
    assert ir.DataType.BFLOAT16 in dtypes and ir.DataType.FLOAT16 not in dtypes
    assert widen(model)
    altered = ir.to_proto(model).SerializeToString()
    inputs = feeds(contract)
    found = AnyOperators(1).session(path, graph, altered).run(None, inputs)
    assert error(found, run_widened(source, inputs)) < LIMITS["bf16"]


@pytest.mark.parametrize("bundle", ["trained", "trained_f16"])
@pytest.mark.parametrize(
    ("capacity", "rows", "write"),
    [(16, 1, 0), (16, 1, 15), (16, 16, 0), (131, 37, 94), (131, 37, 0), (301, 5, 149), (1, 1, 0)],
)
def test_a_cache_is_written_where_it_should_be(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    bundle: str,
    capacity: int,
    rows: int,
    write: int,
) -> None:
    """Old rows are equal bit for bit. New rows are products; the first layer's values come from the
    same operators except the norm.
    """
    folder = request.getfixturevalue(bundle)[1]
    contract, source, path, _ = lowered(folder, "talker_step", tmp_path)
    inputs = feeds(contract, 3, {**SIZES, "capacity": capacity, "rows": rows})
    inputs["write_index"] = np.array([write], np.int64)
    wanted = run(source, inputs, optimize=False)
    found = run(path, inputs, optimize=False)
    assert error(found, wanted) < LIMITS["f16" if bundle.endswith("f16") else "f32"]
    names = [spec.name for spec in contract.outputs]
    kept = np.setdiff1d(np.arange(capacity), np.arange(write, write + rows))
    for pair in contract.state:
        cache = found[names.index(pair.output)]
        assert cache.dtype == inputs[pair.input].dtype
        np.testing.assert_array_equal(cache[:, :, kept], inputs[pair.input][:, :, kept])
        canonical = wanted[names.index(pair.output)]
        np.testing.assert_array_equal(cache[:, :, kept], canonical[:, :, kept])


@pytest.mark.parametrize("bundle", ["trained", "trained_f16"])
@pytest.mark.parametrize("kind", ["int4", "int8", "w8a8", "fp8"])
@pytest.mark.parametrize("graph", GRAPHS[:-1])
def test_a_quantized_graph(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: str, graph: str, kind: str
) -> None:
    """Quantizers are equal to the bit (see below), so differences come from floats between them.
    A last bit decides how an activation is rounded to 8 bits, in every layer again; in f16, where
    a last bit is 5e-4, two layers are enough for that.
    """
    half = bundle.endswith("f16") and graph != "dit_step"
    eight = kind in ("w8a8", "fp8")
    layers = slice(0, 2) if half and eight else slice(None)
    folder = request.getfixturevalue(bundle)[1]
    contract, source, path, _ = lowered(folder, graph, tmp_path, kind, layers)
    assert_known_to_tensorrt(path, 21 if kind == "int4" else 20)
    inputs = feeds(contract)
    wanted = run(source, inputs, optimize=False)
    limit = 0.03 if eight else 5e-3 if half else LIMITS["f32"]
    assert error(run(path, inputs, optimize=False), wanted) < limit


@pytest.mark.parametrize("kind", ["int4", "w8a8", "fp8"])
@pytest.mark.parametrize("graph", GRAPHS[:-1])
def test_quantizers_stay_as_they_are(
    trained_f16: tuple[Path, Path], tmp_path: Path, graph: str, kind: str
) -> None:
    _, source, path, _ = lowered(trained_f16[1], graph, tmp_path, kind)
    before, after = (_quantizers(file) for file in (source, path))
    assert before == after and sum(before.values()) > 15


def _quantizers(path: Path) -> Counter[tuple[object, ...]]:
    found: Counter[tuple[object, ...]] = Counter()
    for node in ir.load(path).graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            constants = [
                value for value in node.inputs if value is not None and value.is_initializer()
            ]
            data = tuple((value.name, value.const_value.tobytes()) for value in constants)
            attributes = tuple(sorted((name, one.value) for name, one in node.attributes.items()))
            found[node.op_type, data, attributes] += 1
    return found


@pytest.mark.parametrize(
    ("bundle", "dtype", "numbers"),
    [("trained_f16", ir.DataType.FLOAT16, np.float16),
     ("trained_bf16", ir.DataType.BFLOAT16, ml_dtypes.bfloat16)],
)  # fmt: skip
def test_blocks_of_8_bits_become_floats(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: str, dtype: ir.DataType, numbers: Any
) -> None:
    """TensorRT 10.3 dequantizes only INT4 in blocks."""
    folder = request.getfixturevalue(bundle)[1]
    _, source, path, entry = lowered(folder, "thinker_step", tmp_path, "int8")
    assert "DequantizeLinear" not in entry.ops
    graph = ir.load(source).graph
    node = next(node for node in graph if node.op_type == "DequantizeLinear")
    values, scales = (value.const_value.numpy() for value in node.inputs if value is not None)
    wide = np.repeat(scales.astype(np.float32), node.attributes["block_size"].as_int(), axis=0)
    dense = ir.load(path).graph.initializers[f"{node.name}.dense"].const_value
    assert dense is not None and dense.dtype == dtype
    np.testing.assert_array_equal(dense.numpy(), (values * wide).astype(numbers))


def test_pictures_in_f32_stay_in_a_loop(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """All scores at once would fill the memory, because TensorRT fuses no attention in f32."""
    *_, path, entry = lowered(trained[1], "vision_encoder", tmp_path)
    loops = [node for node in ir.load(path).graph if node.op_type == "Scan"]
    assert (
        len(loops)
        == entry.ops["Scan"]
        == Manifest.read(trained[1]).graphs["vision_encoder"].ops["Scan"]
    )
    for loop in loops:  # the parser needs a state
        assert len(loop.inputs) == 2 and loop.attributes["num_scan_inputs"].as_int() == 1


def test_what_a_flavour_does_not_know_is_told(trained: tuple[Path, Path], tmp_path: Path) -> None:
    contract = Manifest.read(trained[1]).contracts["talker_step"]
    source = trained[1] / "graphs" / "talker_step.onnx"
    nothing = Lowering(lambda constants, contract: (), operators=OPERATORS)
    with pytest.raises(OmnijetError, match=r"Attention.*TensorScatter"):
        nothing(source, contract, tmp_path, 0, lambda count: None)
