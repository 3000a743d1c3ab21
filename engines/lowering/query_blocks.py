"""Attention of many blocks of queries over one set of keys (`passes.ScanBlocks`)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.attention import scaled
from omnijet.engines.lowering.chain import Chain, described
from omnijet.engines.lowering.constants import Constants

FLOAT = ir.DataType.FLOAT


class JoinedBlocks(ir.passes.InPlacePass):
    """Promise: a Scan over blocks of queries becomes one Attention.

    TensorRT fuses no attention inside a loop. The loop only limits the memory of scores, and
    TensorRT's fused kernels store none.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [(node, inner) for node in model.graph if (inner := attention_in(node)) is not None]
        for node, inner in found:
            (q,), (_, k, v) = node.inputs, inner.inputs
            assert q is not None and q.shape is not None
            _, heads, rows, width = q.shape
            new = Chain(model.graph, node, self._constants)
            swapped = new.op("Transpose", q, perm=[1, 0, 2, 3])
            joined = new.op("Reshape", swapped, new.ints("join", 1, heads, -1, width))
            described(joined, q.dtype, (1, heads, None, width))
            seen = new.op("Attention", joined, k, v)
            blocks = new.op("Reshape", seen, new.ints("split", heads, -1, rows, width))
            new.end(new.op("Transpose", blocks, perm=[1, 0, 2, 3]))
        return ir.passes.PassResult(model, modified=bool(found))


class LoopedBlocks(ir.passes.InPlacePass):
    """Promise: in f32, a Scan over blocks of queries stays a Scan around products and a softmax.

    TensorRT fuses no attention in f32, and all scores of a picture of 1,024 cells would take
    1.1 GB. The loop carries an unused number, because the parser of TensorRT 10 reads the first
    state of every Scan (`onnxOpImporters.cpp`: `stateVars.at(0)`).
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [
            (node, inner)
            for node in model.graph
            if (inner := attention_in(node)) is not None and node.outputs[0].dtype == FLOAT
        ]
        for node, inner in found:
            (q,), (_, k, v) = node.inputs, inner.inputs
            assert q is not None and q.shape is not None
            new = Chain(model.graph, node, self._constants)
            queries = scaled(new, q, q.shape[-1])
            keys = new.op("Transpose", k, perm=[0, 1, 3, 2])
            state = new.constant("state", np.zeros(1, np.float32))
            own = _block_of(f"{node.name}.block", q, keys, v)
            _, seen = new.node("Scan", [state, queries], 2, body=own, num_scan_inputs=1)
            new.end(seen)
        return ir.passes.PassResult(model, modified=bool(found))


def _block_of(name: str, q: ir.Value, keys: ir.Value, v: ir.Value | None) -> ir.Graph:
    """Returns the body: queries [heads, rows, head_dim], keys [1, heads, head_dim, keys]."""
    assert q.shape is not None and q.dtype is not None
    floats = ir.TensorType(FLOAT)
    state = ir.Value(name=f"{name}.state", shape=ir.Shape([1]), type=floats)
    rows = ir.Value(name=f"{name}.queries", shape=ir.Shape(q.shape[1:]), type=floats)
    axes = ir.node("Constant", [], {"value_ints": [0]})
    nodes = [axes, ir.node("Identity", [state]), ir.node("Unsqueeze", [rows, axes.outputs[0]])]
    nodes.append(ir.node("MatMul", [nodes[-1].outputs[0], keys]))
    nodes.append(ir.node("Softmax", [nodes[-1].outputs[0]], {"axis": -1}))
    nodes.append(ir.node("MatMul", [nodes[-1].outputs[0], v]))
    nodes.append(ir.node("Squeeze", [nodes[-1].outputs[0], axes.outputs[0]]))
    for index, inner in enumerate(nodes):  # names must be unique across graph and body
        inner.name = inner.outputs[0].name = f"{name}.{index}"
    outputs = [nodes[1].outputs[0], nodes[-1].outputs[0]]
    for value, like in zip(outputs, (state, rows), strict=True):
        value.shape, value.type = like.shape, like.type
    return ir.Graph([state, rows], outputs, nodes=nodes, name=name)


def attention_in(node: ir.Node) -> ir.Node | None:
    """Returns the Attention in a Scan over blocks of queries, or None."""
    if node.op_type != "Scan":
        return None
    return next((n for n in node.attributes["body"].as_graph() if n.op_type == "Attention"), None)
