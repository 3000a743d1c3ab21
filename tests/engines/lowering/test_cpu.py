"""A lowered graph computes the same as the canonical one, with integers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx_ir as ir
import pytest

from omnijet.engines.lowering import cpu
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import GraphEntry, Manifest
from tests.quantization.graphs import error, feeds, quantize, run, session

CASES = [
    ("thinker_step", "int4"), ("thinker_step", "int4z"), ("thinker_step", "int8"),
    ("thinker_step", "int8z"), ("thinker_step", "w8a8"), ("audio_encoder", "w8a8"),
    ("vision_encoder", "w8a8"), ("dit_step", "int4"), ("dit_step", "w8a8"),
]  # fmt: skip


def lowered(
    source: Path,
    contract: GraphContract,
    folder: Path,
    kind: str,
    levels: dict[int, int] | None = None,
    layers: slice = slice(None),
) -> tuple[Path, Path, GraphEntry]:
    """Returns (canonical file, lowered file, entry of the lowered graph)."""
    quantize(source, contract, folder / "canonical", kind, True, layers)
    path = folder / "canonical" / f"{contract.name}.onnx"
    levels = levels or cpu.accuracy_levels(contract)
    with patch.object(cpu, "accuracy_levels", return_value=levels):
        entry = cpu.lower(path, contract, folder / "lowered", 7, lambda count: None)
    return path, folder / "lowered" / f"{contract.name}.onnx", entry


@pytest.mark.parametrize(("graph", "kind"), CASES)
def test_a_lowered_graph_equals_the_canonical_one(
    trained: tuple[Path, Path], tmp_path: Path, graph: str, kind: str
) -> None:
    contract = Manifest.read(trained[1]).contracts[graph]
    source = trained[1] / "graphs" / f"{graph}.onnx"
    exact = {4: cpu.EXACT, 8: cpu.EXACT}
    path, target, entry = lowered(source, contract, tmp_path, kind, exact)
    inputs = feeds(contract)
    wanted = run(path, inputs, optimize=False)
    # a last bit decides how an activation is rounded to 8 bits: see test_graph_writer
    limit = 0.03 if kind == "w8a8" else 1e-5
    # the optimiser keeps u8 x s8 from saturating, see runtime/backends/ort_cpu.py
    for optimize in (True,) if kind == "w8a8" else (False, True):
        assert error(run(target, inputs, optimize=optimize), wanted) < limit
    integer = "MatMulIntegerToFloat" if kind == "w8a8" else "MatMulNBits"
    canonical = Counter(node.op_type for node in ir.load(path).graph)
    # all that was quantized, and nothing is dequantized
    assert "DequantizeLinear" not in entry.ops
    assert entry.ops[integer] + entry.ops.get("MatMul", 0) == canonical["MatMul"]
    assert entry.ops.get("QuantizeLinear", 0) == canonical["QuantizeLinear"]
    assert entry.parameters == 7


@pytest.mark.parametrize("kind", ["int4", "int8z", "w8a8"])
def test_a_lowered_graph_in_f16(
    thinker_f16: tuple[Path, GraphContract], tmp_path: Path, kind: str
) -> None:
    exact = {4: cpu.EXACT, 8: cpu.EXACT}
    layers = slice(0, 2) if kind == "w8a8" else slice(None)
    path, target, _ = lowered(*thinker_f16, tmp_path, kind, exact, layers)
    inputs = feeds(thinker_f16[1])
    wanted = run(path, inputs, optimize=False)
    assert error(run(target, inputs, optimize=True), wanted) < 5e-3


def test_products_in_int8_err_little(trained: tuple[Path, Path], tmp_path: Path) -> None:
    contract = Manifest.read(trained[1]).contracts["thinker_step"]
    source = trained[1] / "graphs" / "thinker_step.onnx"
    path, target, _ = lowered(source, contract, tmp_path, "int8")
    inputs = feeds(contract)
    wanted = run(path, inputs, optimize=False)
    assert 1e-4 < error(run(target, inputs, optimize=True), wanted) < 0.1
    levels = {
        node.attributes["accuracy_level"].as_int()
        for node in ir.load(target).graph if node.op_type == "MatMulNBits"
    }  # fmt: skip
    assert levels == {cpu.IN_INT8}


def test_onnx_runtime_keeps_the_integer_products(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    """ONNX Runtime's passes leave 10 of the audio encoder's 19 products in floats."""
    contract = Manifest.read(trained[1]).contracts["audio_encoder"]
    source = trained[1] / "graphs" / "audio_encoder.onnx"
    _, target, entry = lowered(source, contract, tmp_path, "w8a8")
    session(target, optimize=True, saved=tmp_path / "optimized.onnx")
    optimized = Counter(node.op_type for node in ir.load(tmp_path / "optimized.onnx").graph)
    assert optimized["MatMulIntegerToFloat"] == entry.ops["MatMulIntegerToFloat"]
    assert not {"MatMul", "Gemm", "FusedMatMul", "DequantizeLinear"} & set(optimized)


def test_a_graph_without_quantized_layers_is_copied(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    contract = Manifest.read(trained[1]).contracts["vocoder"]
    source = trained[1] / "graphs" / "vocoder.onnx"
    told: list[int] = []
    cpu.lower(source, contract, tmp_path, 0, told.append)
    before, after = (ir.load(path).graph for path in (source, tmp_path / "vocoder.onnx"))
    assert [node.op_type for node in before] == [node.op_type for node in after]
    for name, value in before.initializers.items():
        copied = after.initializers[name].const_value
        np.testing.assert_array_equal(value.const_value.numpy(), copied.numpy())
    assert sum(told) == sum(value.const_value.nbytes for value in before.initializers.values())
