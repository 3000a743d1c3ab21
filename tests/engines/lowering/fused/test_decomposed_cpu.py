"""A graph for an older ONNX Runtime equals the canonical one, with one set of caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime
import pytest

from omnijet.engines.lowering.cpu import EXACT
from omnijet.engines.lowering.fused import decomposed_cpu
from omnijet.engines.lowering.fused.choices import Choice
from omnijet.runtime.backends.ort_graph import shared
from omnijet.runtime.bundle.contract import Array, GraphContract, wide_contract
from omnijet.runtime.bundle.manifest import GraphEntry, Manifest
from tests.quantization.graphs import SIZES, error, feeds, quantize, run, session

GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step", "vocoder")
STEPS = ("thinker_step", "talker_step")
LARGER = {
    "chunks": 5, "tokens": 7, "cells": 66, "windows": 12, "rows": 37, "capacity": 131,
    "branches": 1, "blocks": 2, "frames": 61, "picked": 8, "pictures": 3, "picture_cells": 22,
}  # fmt: skip
LIMITS = {"f32": 2e-5, "f16": 3e-3, "bf16": 3e-2}
NEW = {"Attention", "RMSNormalization", "RotaryEmbedding", "TensorScatter", "Swish"}
"""Operators of opset 23 and later."""
LEVELS = {4: EXACT, 8: EXACT}


def lowered(
    bundle: Path, graph: str, folder: Path, kind: str = "none"
) -> tuple[GraphContract, Path, Path, GraphEntry]:
    """Returns (contract, canonical file, lowered file, entry of the lowered graph)."""
    contract = Manifest.read(bundle).contracts[graph]
    source = bundle / "graphs" / f"{graph}.onnx"
    if kind != "none":
        quantize(source, contract, folder / "canonical", kind, True)
        source = folder / "canonical" / f"{graph}.onnx"
    exact = Choice("test", frozenset(), LEVELS, LEVELS, 8)
    with patch.object(decomposed_cpu, "ANY", exact):
        entry = decomposed_cpu.lower(source, contract, folder / "lowered", 7, lambda count: None)
    return contract, source, folder / "lowered" / f"{graph}.onnx", entry


def wide(inputs: dict[str, Array]) -> dict[str, Array]:
    return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in inputs.items()}


def assert_old(path: Path) -> None:
    """Checks that a file asks for nothing that ONNX Runtime 1.23 lacks."""
    model = onnx.load(path, load_external_data=False)
    assert {one.domain: one.version for one in model.opset_import}[""] <= 21
    assert model.ir_version <= 10
    assert not {node.op_type for node in model.graph.node} & NEW


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_it_equals_the_canonical_one(
    request: pytest.FixtureRequest, tmp_path: Path, graph: str, precision: str
) -> None:
    bundle = request.getfixturevalue("trained" if precision == "f32" else "trained_f16")[1]
    contract, source, target, entry = lowered(bundle, graph, tmp_path)
    assert_old(target)
    assert entry.opset == 20 and entry.parameters == 7
    for seed, sizes in enumerate((SIZES, LARGER)):
        inputs = feeds(contract, seed, sizes)
        wanted = run(source, inputs, optimize=False)
        for optimize in (False, True):
            found = run(target, wide(inputs), optimize=optimize)
            assert error(found, wanted) < LIMITS[precision]


@pytest.mark.parametrize("graph", STEPS)
@pytest.mark.parametrize("kind", ["int4", "int4z", "int8"])
@pytest.mark.parametrize("rows", [1, 37])
def test_steps_in_blocks(
    trained: tuple[Path, Path], tmp_path: Path, graph: str, kind: str, rows: int
) -> None:
    contract, source, target, entry = lowered(trained[1], graph, tmp_path, kind)
    assert_old(target)
    assert "DequantizeLinear" not in entry.ops
    inputs = feeds(contract, rows, SIZES | {"rows": rows, "capacity": 131})
    wanted = run(source, inputs, optimize=False)
    assert error(run(target, inputs, optimize=True), wanted) < LIMITS["f32"]


@pytest.mark.parametrize("graph", GRAPHS[:-1])
def test_products_of_integers(trained: tuple[Path, Path], tmp_path: Path, graph: str) -> None:
    contract, source, target, entry = lowered(trained[1], graph, tmp_path, "w8a8")
    assert_old(target)
    assert "DequantizeLinear" not in entry.ops
    products = [one for one in onnx.load(target, load_external_data=False).graph.node
                if one.op_type == "MatMulIntegerToFloat"]  # fmt: skip
    assert products and all(len(one.input) > 5 and one.input[5] for one in products)
    inputs = feeds(contract)
    wanted = run(source, inputs, optimize=False)
    # a last bit decides how an activation is rounded to 8 bits
    assert error(run(target, inputs, optimize=True), wanted) < 0.03


def test_a_bf16_graph(trained_bf16: tuple[Path, Path], tmp_path: Path) -> None:
    contract, _, target, _ = lowered(trained_bf16[1], "thinker_step", tmp_path)
    assert_old(target)
    found = run(target, feeds(wide_contract(contract)), optimize=True)
    assert all(np.isfinite(one).all() for one in found)


@pytest.mark.parametrize("graph", STEPS)
@pytest.mark.parametrize("optimize", [False, True])
def test_nobody_reads_a_cache_but_who_writes_it(
    trained: tuple[Path, Path], tmp_path: Path, graph: str, optimize: bool
) -> None:
    """So one buffer can be input and output: nothing else can see it half written. It holds for
    the file, and for what ONNX Runtime makes of it before it runs.
    """
    contract, _, target, _ = lowered(trained[1], graph, tmp_path)
    if optimize:
        session(target, optimize=True, saved=tmp_path / "optimized.onnx")
        target = tmp_path / "optimized.onnx"
    nodes = onnx.load(target, load_external_data=False).graph.node
    assert contract.state
    for pair in contract.state:
        readers = [node for node in nodes if pair.input in node.input]
        (writer,) = readers
        assert writer.op_type == "ScatterND" and writer.output[0] == pair.output
        assert writer.input[0] == pair.input and pair.input not in writer.input[1:]
    inside = [
        attribute for node in nodes for attribute in node.attribute if attribute.HasField("g")
    ]
    assert not inside, "a body could read a cache, too"


def bound_twice(ready: Any, contract: GraphContract, inputs: dict[str, Array]) -> dict[str, Array]:
    """Runs with each cache bound to its input and its output; returns all outputs."""
    binding = ready.io_binding()
    caches = {pair.input: inputs[pair.input].copy() for pair in contract.state}
    made = {pair.output: caches[pair.input] for pair in contract.state}
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, shared(caches.get(name, array)))
    for spec in contract.outputs:
        if spec.name in made:
            binding.bind_ortvalue_output(spec.name, shared(made[spec.name]))
        else:
            binding.bind_output(spec.name, "cpu")
    ready.run_with_iobinding(binding)
    names = [spec.name for spec in contract.outputs]
    for name, value in zip(names, binding.get_outputs(), strict=True):
        if name not in made:
            made[name] = value.numpy().copy()
    return made


@pytest.mark.parametrize("graph", STEPS)
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    ("capacity", "rows", "write"),
    [(16, 1, 0), (16, 1, 15), (16, 16, 0), (131, 37, 94), (131, 37, 0), (301, 5, 149), (1, 1, 0)],
)
def test_one_buffer_is_as_good_as_two(
    trained: tuple[Path, Path], tmp_path: Path, graph: str, threads: int, capacity: int, rows: int,
    write: int,
) -> None:  # fmt: skip
    """Bit for bit, and rows that are not written stay as they are."""
    contract, _, target, _ = lowered(trained[1], graph, tmp_path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    ready = onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    inputs = feeds(contract, 3, {**SIZES, "capacity": capacity, "rows": rows})
    inputs["write_index"] = np.array([write], np.int64)
    names = [spec.name for spec in contract.outputs]
    wanted = dict(zip(names, ready.run(names, inputs), strict=True))
    found = bound_twice(ready, contract, inputs)
    for name in names:
        np.testing.assert_array_equal(found[name], wanted[name])
    kept = np.setdiff1d(np.arange(capacity), np.arange(write, write + rows))
    for pair in contract.state:
        before, after = inputs[pair.input], found[pair.output]
        np.testing.assert_array_equal(after[:, :, kept], before[:, :, kept])
        assert not np.array_equal(after, before)
