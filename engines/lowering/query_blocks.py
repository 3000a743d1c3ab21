"""Attention of many blocks of queries over the keys of their set (`passes.ScanBlocks`)."""

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
            _, k, v = inner.inputs
            new = Chain(model.graph, node, self._constants)
            q, is_lifted = _with_sets(new, node)
            assert q.shape is not None
            _, _, heads, rows, width = q.shape
            swapped = new.op("Transpose", q, perm=[0, 2, 1, 3, 4])
            # 0 copies the size of the axis
            joined = new.op("Reshape", swapped, new.ints("join", 0, heads, -1, width))
            described(joined, q.dtype, (None, heads, None, width))
            seen = new.op("Attention", joined, k, v)
            blocks = new.op("Reshape", seen, new.ints("split", 0, heads, -1, rows, width))
            seen = new.op("Transpose", blocks, perm=[0, 2, 1, 3, 4])
            new.end(new.op("Squeeze", seen, new.ints("set", 0)) if is_lifted else seen)
        return ir.passes.PassResult(model, modified=bool(found))


class LoopedBlocks(ir.passes.InPlacePass):
    """Promise: in f32, a Scan over blocks of queries stays a Scan around products and a softmax.

    TensorRT fuses no attention in f32, and all scores of a picture of 1,024 cells would take
    1.1 GB. The loop carries an unused number, because the parser of TensorRT 10 reads the first
    state of every Scan (`onnxOpImporters.cpp`: `stateVars.at(0)`), and it runs over the first
    axis, which every parser takes.
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
            _, k, v = inner.inputs
            new = Chain(model.graph, node, self._constants)
            q, is_lifted = _with_sets(new, node)
            assert q.shape is not None
            queries = new.op("Transpose", scaled(new, q, q.shape[-1]), perm=[1, 0, 2, 3, 4])
            keys = new.op("Transpose", k, perm=[0, 1, 3, 2])
            state = new.constant("state", np.zeros(1, np.float32))
            own = _block_of(f"{node.name}.block", q.shape, keys, v)
            _, seen = new.node("Scan", [state, queries], 2, body=own, num_scan_inputs=1)
            seen = new.op("Transpose", seen, perm=[1, 0, 2, 3, 4])
            new.end(new.op("Squeeze", seen, new.ints("set", 0)) if is_lifted else seen)
        return ir.passes.PassResult(model, modified=bool(found))


def _with_sets(new: Chain, node: ir.Node) -> tuple[ir.Value, bool]:
    """Returns the queries that a Scan runs over, [sets, blocks, heads, rows, head_dim]; and whether
    they had no sets, as in bundles whose calls take one picture.
    """
    (q,) = node.inputs
    assert q is not None and q.shape is not None
    if len(q.shape) == 5:
        return q, False
    lifted = new.op("Unsqueeze", q, new.ints("first", 0))
    return described(lifted, q.dtype, (1, *q.shape)), True


def _block_of(name: str, shape: ir.Shape, keys: ir.Value, v: ir.Value | None) -> ir.Graph:
    """Returns the body: queries [sets, heads, rows, head_dim], keys [sets, heads, head_dim, keys].

    Args:
        shape: of all queries, [sets, blocks, heads, rows, head_dim].
    """
    floats = ir.TensorType(FLOAT)
    state = ir.Value(name=f"{name}.state", shape=ir.Shape([1]), type=floats)
    rows = ir.Value(name=f"{name}.queries", shape=ir.Shape([shape[0], *shape[2:]]), type=floats)
    nodes = [ir.node("Identity", [state]), ir.node("MatMul", [rows, keys])]
    nodes.append(ir.node("Softmax", [nodes[-1].outputs[0]], {"axis": -1}))
    nodes.append(ir.node("MatMul", [nodes[-1].outputs[0], v]))
    for index, inner in enumerate(nodes):  # names must be unique across graph and body
        inner.name = inner.outputs[0].name = f"{name}.{index}"
    outputs = [nodes[0].outputs[0], nodes[-1].outputs[0]]
    for value, like in zip(outputs, (state, rows), strict=True):
        value.shape, value.type = like.shape, like.type
    return ir.Graph([state, rows], outputs, nodes=nodes, name=name)


def attention_in(node: ir.Node) -> ir.Node | None:
    """Returns the Attention in a Scan over blocks of queries, or None."""
    if node.op_type != "Scan":
        return None
    return next((n for n in node.attributes["body"].as_graph() if n.op_type == "Attention"), None)
