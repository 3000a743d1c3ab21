"""A widened graph computes like a machine that computes in bf16 and accumulates in f32."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from omnijet.engines.lowering.widened import MOVES, widen, widened_contract
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.manifest import Manifest
from tests.quantization.graphs import error, feeds, run, run_widened

GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step")
BF16 = ir.DataType.BFLOAT16
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


def bf16(array: np.ndarray) -> np.ndarray:
    """Rounds to bf16; returns f32."""
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)


def toy(weight: np.ndarray) -> ir.Model:
    """Returns a graph of bf16(x) @ weight, squared, all in bf16; y is f32, z bf16."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.BFLOAT16),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Mul", ["b", "b"], ["z"]),
        helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", len(weight)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", weight.shape[1]]),
         helper.make_tensor_value_info("z", TensorProto.BFLOAT16, ["rows", weight.shape[1]])],
        [helper.make_tensor("w", TensorProto.BFLOAT16, weight.shape, weight.astype(np.float32))],
        value_info=[helper.make_tensor_value_info(name, TensorProto.BFLOAT16, None)
                    for name in ("a", "b")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 24)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


@pytest.mark.parametrize("level", LEVELS)
def test_every_result_is_rounded_once_at_every_level_of_optimisation(level: str) -> None:
    random = np.random.default_rng(2)
    # eighths: sums are exact in f32 in any order, but need more bits than bf16 has
    weight = bf16(random.integers(-99, 99, (37, 13)) / np.float32(8))
    x = (random.standard_normal((5, 37)) * 9).astype(np.float32)
    x = np.round(x * 8) / np.float32(8) + np.float32(2**-12)  # removed by the rounding of x
    model = toy(weight)
    assert widen(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    y, z = session.run(None, {"x": x})
    product = bf16(bf16(x) @ weight)
    assert y.dtype == z.dtype == np.float32
    np.testing.assert_array_equal(z, bf16(product * product))
    np.testing.assert_array_equal(y, z)
    assert (product != bf16(x) @ weight).any()


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_computes_is_followed_by_a_rounding(
    trained_bf16: tuple[Path, Path], graph: str
) -> None:
    path = trained_bf16[1] / "graphs" / f"{graph}.onnx"
    model = ir.load(path)
    computing = {str(v.name) for v in computed(model)}
    assert widen(model) and len(computing) > 20
    graphs = [model.graph, *model.graph.subgraphs()]
    rounded = {str(node.inputs[0].name) for one in graphs for node in one
               if node.op_type == "Cast" and node.outputs[0].dtype == BF16}  # fmt: skip
    assert rounded == {f"{name}.exact" for name in computing}
    for value in computed(model):
        assert value.producer().op_type == "Cast"
    attentions = [n for one in graphs for n in one if n.op_type == "Attention"]
    assert {f"{name}.exact" for name in computing} >= {str(n.outputs[0].name) for n in attentions}
    assert not [value for value in model.graph.inputs if value.dtype == BF16]


def computed(model: ir.Model) -> list[ir.Value]:
    return [
        value
        for graph in (model.graph, *model.graph.subgraphs())
        for node in graph
        for value in node.outputs
        if value.dtype == BF16 and node.op_type not in MOVES
    ]


@pytest.mark.parametrize("graph", GRAPHS)
def test_bf16_stays_near_f32(
    trained: tuple[Path, Path], trained_bf16: tuple[Path, Path], tmp_path: Path, graph: str
) -> None:
    """Bundles of one checkpoint in bf16, so that both have the same weights."""
    contract = Manifest.read(trained_bf16[1]).contracts[graph]
    inputs = feeds(contract)
    inputs = {name: bf16(a) if "cache" in name else a for name, a in inputs.items()}
    wanted = run(trained[1] / "graphs" / f"{graph}.onnx", inputs, optimize=True)
    found = run_widened(trained_bf16[1] / "graphs" / f"{graph}.onnx", inputs)
    assert 1e-4 < error(found, wanted) < 3e-2


def test_the_boundary_is_that_of_f32(
    trained: tuple[Path, Path], trained_bf16: tuple[Path, Path]
) -> None:
    narrow, wide = (Manifest.read(one[1]).contracts for one in (trained_bf16, trained))
    assert {name: widened_contract(one) for name, one in narrow.items()} == wide


def test_graphs_without_bf16_stay(trained: tuple[Path, Path], tmp_path: Path) -> None:
    path = trained[1] / "graphs" / "thinker_step.onnx"
    model = ir.load(path)
    before = ir.to_proto(model).SerializeToString()
    assert not widen(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_onnxruntime_still_needs_it(trained_bf16: tuple[Path, Path]) -> None:
    """If this fails, the CPU provider runs bf16, and bundles need no widening."""
    path = trained_bf16[1] / "graphs" / "thinker_step.onnx"
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented):
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert "bf16" not in OrtBackend.precisions
    inputs = onnx.load(path, load_external_data=False).graph.input
    (cache,) = (one for one in inputs if one.name == "key_cache_0")
    assert cache.type.tensor_type.elem_type == 16
