"""Widens a graph in bf16 so that ONNX Runtime's CPU runs it with the same numbers.

The numbers are those of a machine that computes in bf16 and accumulates in f32. Every bf16 value
becomes an f32 value that bf16 can hold: a pair of casts rounds the result of each node to bf16, to
nearest, ties to even (ONNX Runtime 1.32 keeps such a pair at every level of optimisation). Weights
stay in the file as they are. Tests and calibration use this form: it is no faster than f32 and
takes as much memory.

Machines may still differ in the order of sums, and in the probabilities inside an Attention: they
stay f32 here, and some kernels round them to bf16.
"""

from __future__ import annotations

import onnx_ir as ir

from omnijet.runtime.bundle.contract import GraphContract, wide_contract

MOVES = frozenset({
    "Compress", "Concat", "Constant", "Expand", "Gather", "Identity", "Reshape", "Scan", "Slice",
    "Split", "Squeeze", "TensorScatter", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that pass values on unchanged. Rounding again would also prevent the update of a cache
in place."""


def widen(model: ir.Model) -> bool:
    """Widens a model in place; returns whether anything was in bf16."""
    return Widened()(model).modified


def widened_contract(contract: GraphContract) -> GraphContract:
    """Returns the contract of the widened graph: caches are f32."""
    return wide_contract(contract, ("bf16",))


class Widened(ir.passes.InPlacePass):
    """Promise: only weights, and values between the two casts of a rounding, are bf16."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graphs = [model.graph, *model.graph.subgraphs()]
        modified = [_widen_graph(graph) for graph in graphs]
        return ir.passes.PassResult(model, modified=any(modified))


def _widen_graph(graph: ir.Graph) -> bool:
    nodes = list(graph)
    narrow = [value for value in graph.inputs if _is_narrow(value)]
    weights = [value for value in graph.initializers.values() if _is_narrow(value)]
    for node in nodes:
        _fill_types(node)
    for node in nodes:
        for value in filter(_is_narrow, node.outputs):
            narrow.append(value)
            if node.op_type == "Cast":
                node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT.value)
            if node.op_type not in MOVES:
                _round(graph, node, value)
    for value in narrow:
        value.dtype = ir.DataType.FLOAT
    for value in weights:
        _widen_weight(graph, value)
    return bool(narrow or weights)


def _is_narrow(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.BFLOAT16


def _fill_types(node: ir.Node) -> None:
    """Fills in bf16 for outputs of operators that pass bf16 on; all others must state a type."""
    if node.op_type == "Shape" or not any(map(_is_narrow, node.inputs)):
        return
    for value in node.outputs:
        if value.dtype is None and node.op_type in MOVES:
            value.dtype = ir.DataType.BFLOAT16
        assert value.dtype is not None, (node.op_type, value.name)


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Makes all readers of a result read it rounded; the rounded value keeps the name."""
    name = str(value.name)
    value.name = f"{name}.exact"
    short = ir.node("Cast", [value], {"to": ir.DataType.BFLOAT16}, name=f"{name}.round")
    wide = ir.node("Cast", short.outputs, {"to": ir.DataType.FLOAT}, name=f"{name}.widen")
    short.outputs[0].name, short.outputs[0].shape = f"{name}.rounded", value.shape
    short.outputs[0].dtype = ir.DataType.BFLOAT16
    new = wide.outputs[0]
    new.name, new.shape, new.dtype = name, value.shape, ir.DataType.FLOAT
    ir.convenience.replace_all_uses_with(value, new, replace_graph_outputs=True)
    short.replace_input_with(0, value)
    graph.insert_after(node, [short, wide])


def _widen_weight(graph: ir.Graph, value: ir.Value) -> None:
    """Makes all readers of a weight, in subgraphs too, read it in f32."""
    wide = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{value.name}.widen")
    new = wide.outputs[0]
    new.name, new.shape, new.dtype = f"{value.name}.wide", value.shape, ir.DataType.FLOAT
    ir.convenience.replace_all_uses_with(value, new)
    wide.replace_input_with(0, value)
    graph.insert_before(graph[0], wide)
