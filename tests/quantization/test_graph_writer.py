"""A quantized graph keeps its contract and equals a float graph of its dequantized weights."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from omnijet.export.graphfile.weight_pages import PAGE, pack_int4
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.quantization.weights import Change, QuantizedWeight
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from tests.quantization.graphs import (
    error,
    feeds,
    plain_change,
    quantize,
    run,
    run_widened,
    write_reference,
)

# every kind of change on the most sensitive graph, and every graph with the rules it needs
CASES = [
    *(("thinker_step", kind, divided)
      for kind in ("int4", "int4z", "int8", "int8z", "w8a8", "fp8") for divided in (False, True)),
    *((graph, kind, True)
      for graph in ("audio_encoder", "vision_encoder", "talker_step", "dit_step")
      for kind in ("int4z", "w8a8")),
    ("audio_encoder", "fp8", True), ("audio_encoder", "w4f8", True),
]  # fmt: skip


def compare(
    source: Path,
    contract: GraphContract,
    folder: Path,
    kind: str,
    divided: bool,
    limit: float,
    layers: slice = slice(None),
) -> None:
    changes = quantize(source, contract, folder / "graphs", kind, divided, layers)
    reference = folder / "reference.onnx"
    write_reference(source, reference, changes)
    inputs = feeds(contract)
    wanted = run(reference, inputs, optimize=False)
    path = folder / "graphs" / f"{contract.name}.onnx"
    assert error(run(path, inputs, optimize=False), wanted) < limit
    # Other kernels differ in the last bit, and where an activation is rounded to 8 bits that
    # bit may decide for the next step.
    rounded = kind in ("w8a8", "fp8", "w4f8")
    assert error(run(path, inputs, optimize=True), wanted) < (0.03 if rounded else limit)
    # and rounding changed something
    assert error(wanted, run(source, inputs, optimize=False)) > 1e-3


@pytest.mark.parametrize(("graph", "kind", "divided"), CASES)
def test_a_graph_in_f32(
    trained: tuple[Path, Path], tmp_path: Path, graph: str, kind: str, divided: bool
) -> None:
    contract = Manifest.read(trained[1]).contracts[graph]
    compare(trained[1] / "graphs" / f"{graph}.onnx", contract, tmp_path, kind, divided, 1e-5)


@pytest.mark.parametrize("kind", ["int4", "int8z"])
def test_weights_in_f16(thinker_f16: tuple[Path, GraphContract], tmp_path: Path, kind: str) -> None:
    compare(*thinker_f16, tmp_path, kind, True, 2e-3)


BF16_CASES = [
    ("int4", slice(None)), ("int8z", slice(None)),
    *((kind, slice(layer, layer + 1)) for kind in ("w8a8", "fp8") for layer in (0, 20)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "layers"), BF16_CASES)
def test_a_graph_in_bf16(
    thinker_bf16: tuple[Path, GraphContract], tmp_path: Path, kind: str, layers: slice
) -> None:
    """Scales are bf16 too. The graph is widened, because no CPU runs bf16."""
    source, contract = thinker_bf16
    changes = quantize(source, contract, tmp_path / "graphs", kind, True, layers)
    path = tmp_path / "graphs" / "thinker_step.onnx"
    held = {}
    for name, (layer, change) in changes.items():
        scales = ir.load(path).graph.initializers[f"{name}.scale"].const_value.numpy()
        np.testing.assert_array_equal(scales, change.weight.scales.astype(ml_dtypes.bfloat16))
        held[name] = (
            layer,
            replace(change, weight=replace(change.weight, scales=scales.astype(np.float32))),
        )
    write_reference(source, tmp_path / "reference.onnx", held)
    inputs = feeds(contract)
    wanted = run_widened(tmp_path / "reference.onnx", inputs)
    assert error(run_widened(path, inputs), wanted) < 1e-3
    assert error(wanted, run_widened(source, inputs)) > 1e-3


@pytest.mark.parametrize(("layer", "limit"), [(0, 0.008), (3, 0.03), (20, 0.002)])
@pytest.mark.parametrize("kind", ["w8a8", "fp8"])
def test_an_activation_in_f16(
    thinker_f16: tuple[Path, GraphContract], tmp_path: Path, kind: str, layer: int, limit: float
) -> None:
    """Tests activations behind a norm, behind a product, and the last, one at a time: the last bit
    of f16 moves some rounded values by a whole step, and every further layer adds more.
    """
    compare(*thinker_f16, tmp_path, kind, True, limit, slice(layer, layer + 1))


def written(
    trained: tuple[Path, Path], folder: Path, graph: str, kind: str, divided: bool
) -> ir.Model:
    contract = Manifest.read(trained[1]).contracts[graph]
    quantize(trained[1] / "graphs" / f"{graph}.onnx", contract, folder, kind, divided)
    return ir.load(folder / f"{graph}.onnx")


def test_layers_with_one_activation_share_what_happens_to_it(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    model = written(trained, tmp_path, "audio_encoder", "w8a8", True)
    counts = {node.op_type: 0 for node in model.graph}
    for node in model.graph:
        counts[node.op_type] += 1
    layers = Manifest.read(trained[1]).dims.audio.layers
    # q, k and v; output; up; down; and once the projection
    assert counts["QuantizeLinear"] == 4 * layers + 1
    assert counts["DequantizeLinear"] == (4 + 6) * layers + 1 + 1


def test_a_norm_takes_the_divisor_where_it_can(trained: tuple[Path, Path], tmp_path: Path) -> None:
    source = ir.load(trained[1] / "graphs" / "audio_encoder.onnx")
    model = written(trained, tmp_path, "audio_encoder", "int4", True)
    added = _count(model, "Mul") - _count(source, "Mul")
    assert added == 2 * Manifest.read(trained[1]).dims.audio.layers  # output and down
    before, after = (
        graph.graph.initializers["layers.0.attention_norm.weight"].const_value.numpy()
        for graph in (source, model)
    )
    assert set(np.unique(np.round(np.log2(before / after), 3))) <= {-2, -1, 0, 1, 2}
    assert not np.array_equal(before, after)


def test_a_norm_that_others_read_stays(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Only one of three readers of the norm is divided."""
    source = trained[1] / "graphs" / "audio_encoder.onnx"
    contract = Manifest.read(trained[1]).contracts["audio_encoder"]
    writer = GraphWriter(source, contract, tmp_path / "graphs")
    layer = writer.layers[0]
    divisor = np.full(layer.inputs, 4, np.float32)
    change = plain_change(writer.read(layer), "int8", divisor, np.ones(1, np.float32))
    assert change is not None
    writer.change(layer, change)
    writer.finish(lambda count: None)
    write_reference(source, tmp_path / "reference.onnx", {layer.name: (layer, change)})
    inputs = feeds(contract)
    wanted = run(tmp_path / "reference.onnx", inputs, optimize=False)
    found = run(tmp_path / "graphs" / "audio_encoder.onnx", inputs, optimize=False)
    assert error(found, wanted) < 1e-5


def test_untouched_weights_go_over_as_they_are(trained: tuple[Path, Path], tmp_path: Path) -> None:
    source = ir.load(trained[1] / "graphs" / "thinker_step.onnx")
    contract = Manifest.read(trained[1]).contracts["thinker_step"]
    writer = GraphWriter(trained[1] / "graphs" / "thinker_step.onnx", contract, tmp_path)
    layer = writer.layers[1]
    change = plain_change(writer.read(layer), "int4", None, np.ones(1, np.float32))
    assert change is not None
    writer.change(layer, change)
    told: list[int] = []
    writer.finish(told.append)
    model = ir.load(tmp_path / "thinker_step.onnx")
    size = 0
    for name, value in source.graph.initializers.items():
        tensor = model.graph.initializers[name].const_value
        if name != layer.name:
            np.testing.assert_array_equal(value.const_value.numpy(), tensor.numpy())
            size += tensor.nbytes
        if isinstance(tensor, ir.ExternalTensor):
            assert tensor.offset % PAGE == 0 and tensor.location == "thinker_step.weights"
    assert sum(told) == size


def test_values_of_4_bits_are_packed_as_onnx_wants() -> None:
    values = np.array([[-8, 7, 1], [-1, 0, 2]], np.int8)
    assert pack_int4(values).tolist() == [0x78, 0xF1, 0x20]
    assert pack_int4(values[:, :1]).tolist() == [0xF8]
    assert pack_int4(values[:1]).tolist() == [0x78, 0x01]
    tensor = ir.PackedTensor(pack_int4(values), ir.DataType.INT4, shape=values.shape)
    np.testing.assert_array_equal(tensor.numpy().astype(np.int8), values)
    assert tensor.numpy().dtype == ml_dtypes.int4


def one_change(source: tuple[Path, GraphContract], folder: Path, scales: Array) -> Array:
    """The scales that a layer in f16 gets."""
    writer = GraphWriter(*source, folder)
    layer = writer.layers[0]
    values = np.ones((layer.inputs, layer.outputs), np.int8)
    grid = np.broadcast_to(scales, (layer.inputs // 32, layer.outputs))
    writer.change(layer, Change(QuantizedWeight("int8", 32, values, grid.astype(np.float32))))
    writer.finish(lambda count: None)
    model = ir.load(folder / f"{source[1].name}.onnx")
    result: Array = model.graph.initializers[f"{layer.name}.scale"].const_value.numpy()
    return result


def test_a_tiny_scale_stays_positive_in_f16(
    thinker_f16: tuple[Path, GraphContract], tmp_path: Path
) -> None:
    assert (one_change(thinker_f16, tmp_path, np.float32(1e-9)) > 0).all()


def test_a_scale_beyond_f16_is_an_error(
    thinker_f16: tuple[Path, GraphContract], tmp_path: Path
) -> None:
    with pytest.raises(OmnijetError, match=r"does not fit float16(.|\n)*qkv.weight"):
        one_change(thinker_f16, tmp_path, np.float32(1e6))


def test_a_shorter_weight_file_is_an_error(trained: tuple[Path, Path], tmp_path: Path) -> None:
    for suffix in ("onnx", "weights"):
        data = (trained[1] / "graphs" / f"vocoder.{suffix}").read_bytes()
        kept = data if suffix == "onnx" else data[: len(data) // 2]
        (tmp_path / f"vocoder.{suffix}").write_bytes(kept)
    contract = Manifest.read(trained[1]).contracts["vocoder"]
    with pytest.raises(OmnijetError, match="ends at byte"):
        GraphWriter(tmp_path / "vocoder.onnx", contract, tmp_path / "out")
    (tmp_path / "vocoder.weights").write_bytes(data)
    writer = GraphWriter(tmp_path / "vocoder.onnx", contract, tmp_path / "out")
    os.truncate(tmp_path / "vocoder.weights", len(data) // 2)
    with pytest.raises(OmnijetError, match="ends before its last tensor"):
        writer.finish(lambda count: None)


def _count(model: ir.Model, op_type: str) -> int:
    return sum(node.op_type == op_type for node in model.graph)


def test_norms_with_one_weight_keep_it(trained: tuple[Path, Path], tmp_path: Path) -> None:
    original = trained[1] / "graphs" / "audio_encoder.onnx"
    (tmp_path / "audio_encoder.weights").write_bytes(original.with_suffix(".weights").read_bytes())
    model = ir.load(original)
    first, second = [node for node in model.graph if node.op_type == "LayerNormalization"][:2]
    second.replace_input_with(1, first.inputs[1])
    source = tmp_path / "audio_encoder.onnx"
    ir.save(model, source)
    contract = Manifest.read(trained[1]).contracts["audio_encoder"]
    compare(source, contract, tmp_path, "int8", True, 1e-5)
