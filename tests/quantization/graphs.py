"""Quantizes graphs plainly, feeds them, and writes the float graphs that they must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from omnijet.engines.lowering.widened import widen
from omnijet.engines.widened_backend import WidenedBackend
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.quantization.layers import Layer
from omnijet.quantization.weights import ActivationGrid, Change, QuantizedWeight
from omnijet.runtime.backends.ort_cpu import unsaturated
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract
from omnijet.runtime.bundle.operators import Operators

SIZES = {
    "chunks": 2, "tokens": 21, "cells": 8, "windows": 3, "rows": 5, "capacity": 16,
    "branches": 2, "blocks": 3, "frames": 23, "picked": 2, "pictures": 1, "picture_cells": 8,
}  # fmt: skip
FP8_MAX = 448.0
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


def feeds(
    contract: GraphContract, seed: int = 0, sizes: Mapping[str, int] = SIZES
) -> dict[str, Array]:
    """Returns random inputs: indices in range, masks that see almost everything, bf16 as f32."""
    random = np.random.default_rng(seed)
    shapes = {spec.name: spec.shape({"picked": 1, **sizes}) for spec in contract.inputs}
    result: dict[str, Array] = {}
    for spec in contract.inputs:
        shape = shapes[spec.name]
        if spec.name == "picture_rows":  # patches stand picture after picture
            result[spec.name] = np.arange(np.prod(shape)).reshape(shape)
        elif spec.dtype == "i64":
            result[spec.name] = random.integers(0, _rows_behind(spec.name, shapes), shape)
        elif spec.dtype == "bool":
            result[spec.name] = random.random(shape) > 0.1
            result[spec.name][..., 0] = True
        elif spec.name in ("cos", "sin"):
            angles = random.random(shape) * np.pi
            result[spec.name] = getattr(np, spec.name)(angles).astype(np.float32)
        else:
            dtype = np.float32 if spec.dtype == "bf16" else NUMPY_DTYPES[spec.dtype]
            result[spec.name] = random.standard_normal(shape).astype(dtype)
    return result


def _rows_behind(index: str, shapes: dict[str, tuple[int, ...]]) -> int:
    """Returns how many rows an index may choose from."""
    if index == "pool_rows":
        return shapes["key_mask"][0] * shapes["key_mask"][-1]
    if index == "window_rows":
        return shapes["patches"][0]
    if index == "window_slots":
        return int(np.prod(shapes["window_rows"]))
    if index == "commit":
        return shapes["mask_self"][0]
    if index == "head_rows":
        return shapes["embeds"][1]
    assert index == "write_index", index
    return max(shapes["mask"][-1] - shapes["mask"][-2], 1)


def run(path: Path, inputs: dict[str, Array], *, optimize: bool, level: str = "1") -> list[Array]:
    """Returns all outputs in ONNX Runtime. `level`: accuracy of products with block weights, where
    the file does not state it; 1 computes in f32.
    """
    return session(path, optimize=optimize, level=level).run(None, inputs)


class AnyOperators(WidenedBackend):
    """Loads lowered graphs, too, and those that tests compare with."""

    _all = frozenset(schema.name for schema in onnx.defs.get_all_schemas())
    operators = Operators(_all, _all)


def run_widened(path: Path, inputs: dict[str, Array]) -> list[Array]:
    """Returns all outputs of a graph in bf16."""
    found: list[Array] = AnyOperators(1).session(path, path.stem).run(None, inputs)
    return found


def session(path: Path, *, optimize: bool, level: str = "1", saved: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", level)
    for key, value in unsaturated(path.read_bytes()).items():
        options.add_session_config_entry(key, value)
    if saved is not None:
        options.optimized_model_filepath = str(saved)
    if not optimize:
        disabled = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = disabled
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def error(found: list[Array], wanted: list[Array]) -> float:
    """Returns the largest relative root-mean-square error among all outputs."""
    assert len(found) == len(wanted)
    worst = 0.0
    for a, b in zip(found, wanted, strict=True):
        a, b = a.astype(np.float64), b.astype(np.float64)
        assert np.isfinite(a).all() and a.shape == b.shape and b.std() > 0
        worst = max(worst, float(np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2))))
    return worst


def blocks(weight: Array, bits: Any, block: Any, symmetric: bool) -> QuantizedWeight:
    """Rounds plainly in blocks."""
    parts = weight.reshape(-1, block, weight.shape[1])
    if symmetric:
        top = 2 ** (bits - 1) - 1
        scales = _in_f16(np.maximum(np.abs(parts).max(axis=1), 1e-4) / top)
        values = np.clip(np.rint(parts / scales[:, None]), -top - 1, top).astype(np.int8)
        return QuantizedWeight(f"int{bits}", block, values.reshape(weight.shape), scales)
    top = 2**bits - 1
    low, high = np.minimum(parts.min(axis=1), 0), np.maximum(parts.max(axis=1), 0)
    scales = _in_f16(np.maximum(high - low, 1e-4) / top)
    zeros = np.clip(np.rint(-low / scales), 0, top)
    values = np.clip(np.rint(parts / scales[:, None]) + zeros[:, None], 0, top).astype(np.uint8)
    return QuantizedWeight(
        f"int{bits}", block, values.reshape(weight.shape), scales, zeros.astype(np.uint8)
    )


def channels(weight: Array, dtype: Any) -> QuantizedWeight:
    """Rounds plainly with a scale for each output."""
    top = 127 if dtype == "int8" else FP8_MAX
    scales = _in_f16(np.maximum(np.abs(weight).max(axis=0), 1e-4) / top)
    ratio = np.clip(weight / scales, -top, top)
    if dtype == "int8":
        return QuantizedWeight("int8", None, np.rint(ratio).astype(np.int8), scales)
    return QuantizedWeight("fp8", None, ratio.astype(ml_dtypes.float8_e4m3fn), scales)


def _in_f16(scales: Array) -> Array:
    """Rounds scales to f16, so that f32 and f16 graphs have the same ones."""
    return np.asarray(scales, np.float16).astype(np.float32)


def activations(
    source: Path, layers: Sequence[Layer], inputs: dict[str, Array]
) -> dict[str, Array]:
    """Returns the activations of the layers on these inputs, [rows, inputs] by name."""
    names = list(dict.fromkeys(layer.activation for layer in layers))
    loaded = ir.load(source)
    widen(loaded)
    model = ir.to_proto(loaded)
    known = {value.name for value in model.graph.input}
    for name in names:
        if name not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(WEIGHTS_FOLDER, str(source.absolute().parent))
    ready = onnxruntime.InferenceSession(model.SerializeToString(), options)
    found = {name: inputs[name] for name in names if name in known}
    wanted = [name for name in names if name not in known]
    found.update(zip(wanted, ready.run(wanted, inputs), strict=True))
    return {name: x.reshape(-1, x.shape[-1]).astype(np.float32) for name, x in found.items()}


def plain_change(
    weight: Array, kind: str, divisor: Array | None, activation: Array
) -> Change | None:
    """Returns the plain change of a layer, or None if its weight has no whole blocks.

    Args:
        kind: `int4`, `int4z` (zero points), `int8`, `int8z`, `w8a8`, `fp8`, or `w4f8` (INT4
            weights, FP8 activations).
        activation: values of the undivided activation.
    """
    if divisor is not None:
        weight = weight * divisor[:, None]
        activation = activation / divisor
    if kind in ("w8a8", "fp8"):
        dtype, top = ("int8", 127) if kind == "w8a8" else ("fp8", FP8_MAX)
        scale = float(_in_f16(np.abs(activation).max() / top))
        return Change(channels(weight, dtype), divisor, ActivationGrid(dtype, scale))
    if len(weight) % 32:
        return None
    if kind == "w4f8":
        scale = float(_in_f16(np.abs(activation).max() / FP8_MAX))
        return Change(blocks(weight, 4, 32, True), divisor, ActivationGrid("fp8", scale))
    return Change(blocks(weight, int(kind[3]), 32, not kind.endswith("z")), divisor)


def divisors(layers: Sequence[Layer]) -> dict[str, Array]:
    """Returns a divisor for each activation. All are powers of two, so division is exact."""
    random = np.random.default_rng(0)
    return {
        layer.activation: np.float32(2) ** random.integers(-2, 3, layer.inputs) for layer in layers
    }


def quantize(
    source: Path,
    contract: GraphContract,
    target: Path,
    kind: str,
    divided: bool,
    layers: slice = slice(None),
) -> dict[str, tuple[Layer, Change]]:
    """Quantizes all layers that have whole blocks plainly, and writes the graph into `target`."""
    writer = GraphWriter(source, contract, target)
    dividing = divisors(writer.layers)
    seen = activations(source, writer.layers, feeds(contract))
    changes = {}
    for layer in writer.layers[layers]:
        weight = writer.read(layer)
        assert weight.shape == (layer.inputs, layer.outputs) and weight.dtype == np.float32
        divisor = dividing[layer.activation] if divided else None
        change = plain_change(weight, kind, divisor, seen[layer.activation])
        if change is not None:
            writer.change(layer, change)
            changes[layer.name] = layer, change
    assert changes
    entry = writer.finish(lambda count: None)
    assert entry.file == f"{target.name}/{contract.name}.onnx" and entry.opset == 24
    assert entry.weight_bytes == (target / f"{contract.name}.weights").stat().st_size
    return changes


def write_reference(source: Path, target: Path, changes: dict[str, tuple[Layer, Change]]) -> None:
    """Writes a float graph that equals the quantized one, without DequantizeLinear.

    Its weights are the dequantized ones divided back, and its activations are rounded in plain
    arithmetic.
    """
    model = ir.load(source)
    graph = model.graph
    for name, (_, change) in changes.items():
        value = graph.initializers[name]
        ((node, _),) = value.uses()
        dtype = value.dtype.numpy()
        divisor = np.float32(1) if change.divisor is None else change.divisor[:, None]
        dense = (change.weight.dequantized() / divisor).astype(dtype)
        value.const_value = ir.tensor(dense, name=name)
        if (grid := change.activation) is not None:
            fp8 = grid.dtype == "fp8"
            rounded = _round(graph, node, grid.scale, change.divisor, fp8, dtype)
            node.replace_input_with(0, rounded)
    for value in graph.initializers.values():
        value.const_value = ir.tensor(value.const_value.numpy().copy(), name=value.name)
    ir.save(model, target)


def _round(
    graph: ir.Graph, node: ir.Node, scale: float, divisor: Array | None, fp8: bool, dtype: Any
) -> ir.Value:
    """Adds round(x / divisor / scale) * scale * divisor in f32 for the node's activation x."""
    prefix = f"{node.inputs[1].name}.reference"
    made: list[ir.Node] = []

    def constant(array: Any) -> ir.Value:
        name = f"{prefix}.{len(made)}.{len(graph.initializers)}"
        tensor = ir.tensor(np.asarray(array, np.float32), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=tensor.shape,
                         type=ir.TensorType(tensor.dtype))  # fmt: skip
        graph.register_initializer(value)
        return value

    def op(kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        made.append(ir.node(kind, inputs, attributes, name=f"{prefix}.{len(made)}"))
        made[-1].outputs[0].name = f"{prefix}.{len(made)}.value"
        made[-1].outputs[0].dtype = ir.DataType(attributes.get("to", ir.DataType.FLOAT.value))
        return made[-1].outputs[0]

    wide = ir.DataType.FLOAT.value
    step = np.float32(np.asarray(scale, dtype)) * (1 if divisor is None else divisor)
    value = op("Div", op("Cast", node.inputs[0], to=wide), constant(step))
    if fp8:
        value = op("Cast", op("Cast", value, to=ir.DataType.FLOAT8E4M3FN.value), to=wide)
    else:
        value = op("Clip", op("Round", value), constant(-128), constant(127))
    value = op("Cast", op("Mul", value, constant(step)), to=ir.DataType.from_numpy(dtype).value)
    for new in made:
        graph.insert_before(node, new)
    return value
