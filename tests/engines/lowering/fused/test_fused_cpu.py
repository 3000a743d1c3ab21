"""A graph in ONNX Runtime's fused form computes what the canonical one computes."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx_ir as ir
import pytest

from omnijet.engines.lowering.cpu import EXACT, lower
from omnijet.engines.lowering.fused import cpu
from omnijet.engines.lowering.fused.choices import CHOICES, Choice, choice
from omnijet.runtime.bundle.contract import Array, GraphContract, wide_contract
from omnijet.runtime.bundle.manifest import GraphEntry, Manifest
from tests.quantization.graphs import SIZES, error, feeds, quantize, run

GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step", "vocoder")
STEPS = ("thinker_step", "talker_step")
FEW = 8
LIMITS = {"f32": 1e-5, "f16": 3e-3, "bf16": 3e-2}
"""Limits of error relative to the canonical output: some roundings of a dtype's last bit."""


def lowered(
    source: Path, contract: GraphContract, folder: Path, kind: str = "none"
) -> tuple[Path, Path, GraphEntry]:
    """Returns (canonical file, lowered file, entry of the lowered graph)."""
    if kind != "none":
        quantize(source, contract, folder / "canonical", kind, True)
        source = folder / "canonical" / f"{contract.name}.onnx"
    levels = {4: EXACT, 8: EXACT}
    with patch.object(cpu, "choice", return_value=Choice("test", frozenset(), levels, levels, FEW)):
        entry = cpu.lower(source, contract, folder / "lowered", 7, lambda count: None)
    return source, folder / "lowered" / f"{contract.name}.onnx", entry


def wide(inputs: dict[str, Array]) -> dict[str, Array]:
    return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in inputs.items()}


def of(bundle: Path, graph: str) -> tuple[Path, GraphContract]:
    return bundle / "graphs" / f"{graph}.onnx", Manifest.read(bundle).contracts[graph]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_fused_graph_equals_the_canonical_one(
    request: pytest.FixtureRequest, tmp_path: Path, graph: str, precision: str
) -> None:
    bundle = request.getfixturevalue("trained" if precision == "f32" else "trained_f16")[1]
    source, contract = of(bundle, graph)
    source, target, entry = lowered(source, contract, tmp_path)
    inputs = feeds(contract)
    wanted = run(source, inputs, optimize=False)
    for optimize in (False, True):
        assert error(run(target, wide(inputs), optimize=optimize), wanted) < LIMITS[precision]
    assert entry.parameters == 7


@pytest.mark.parametrize("graph", STEPS)
@pytest.mark.parametrize("rows", [1, 2, FEW, FEW + 1, 37])
@pytest.mark.parametrize("kind", ["none", "int4", "int4z", "int8"])
def test_a_step_of_any_rows_in_any_weights(
    trained: tuple[Path, Path], tmp_path: Path, graph: str, rows: int, kind: str
) -> None:
    source, contract = of(trained[1], graph)
    source, target, entry = lowered(source, contract, tmp_path, kind)
    inputs = feeds(contract, rows, SIZES | {"rows": rows, "capacity": 131})
    wanted = run(source, inputs, optimize=False)
    assert error(run(target, inputs, optimize=True), wanted) < LIMITS["f32"]
    layers = entry.ops["If"] - 1  # one makes the mask numbers for all layers
    assert layers == entry.ops["RotaryEmbedding"] == entry.ops["QuickGelu"]
    assert entry.ops["SkipSimplifiedLayerNormalization"] == 2 * layers


@pytest.mark.parametrize("graph", ["audio_encoder", "vision_encoder", "dit_step", "thinker_step"])
def test_products_of_integers(trained: tuple[Path, Path], tmp_path: Path, graph: str) -> None:
    source, contract = of(trained[1], graph)
    source, target, entry = lowered(source, contract, tmp_path, "w8a8")
    inputs = feeds(contract)
    wanted = run(source, inputs, optimize=False)
    # a last bit decides how an activation is rounded to 8 bits
    assert error(run(target, inputs, optimize=True), wanted) < 0.03
    assert "DequantizeLinear" not in entry.ops


def test_ranges_of_guarded_products_stay(trained_f16: tuple[Path, Path], tmp_path: Path) -> None:
    """In 16 bits a product is guarded, and its input rounded behind the guard: both stay or none.

    Recipes of the CPU write products of integers already when they quantize.
    """
    source, contract = of(trained_f16[1], "vision_encoder")
    quantize(source, contract, tmp_path / "canonical", "w8a8", False)
    plain = tmp_path / "canonical" / source.name
    lower(plain, contract, tmp_path / "integers", 0, lambda count: None)
    entry = cpu.lower(
        tmp_path / "integers" / plain.name, contract, tmp_path / "built", 0, lambda count: None
    )
    assert entry.ops["MatMulIntegerToFloat"] and entry.ops["Div"]
    inputs = feeds(contract)
    wanted = run(plain, inputs, optimize=False)
    assert error(run(tmp_path / "built" / plain.name, inputs, optimize=True), wanted) < 0.03


def test_a_bf16_graph_runs_on_the_cpu(trained_bf16: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = trained_bf16[1]
    source, contract = of(bundle, "thinker_step")
    _, target, _ = lowered(source, contract, tmp_path)
    model = ir.load(target)
    halves = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
    assert not halves & {value.dtype for value in model.graph.initializers.values()}
    found = run(target, feeds(wide_contract(contract)), optimize=True)
    assert all(np.isfinite(one).all() for one in found)


def test_boundaries_keep_their_names(trained_f16: tuple[Path, Path], tmp_path: Path) -> None:
    source, contract = of(trained_f16[1], "thinker_step")
    _, target, _ = lowered(source, contract, tmp_path)
    graph = ir.load(target).graph
    assert [v.name for v in graph.inputs] == [s.name for s in contract.inputs]
    assert [v.name for v in graph.outputs] == [s.name for s in contract.outputs]


def test_a_choice_fits_the_processor() -> None:
    assert choice(["avx512_vnni", "avx2"]) is CHOICES[0]
    assert choice(["avx2"]) is choice([]) is CHOICES[-1]
    assert choice() in CHOICES
