"""The canonical graph as TensorRT's parser and builder take it (TensorRT-RTX 1.7).

Nothing here is about quantization: QuantizeLinear and DequantizeLinear are what TensorRT reads.
It has no unsigned integers of 4 bits and no zero points, and FP8 from SM89 on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from engines.lowering.constants import Constants
from export.passes import const_ints
from export.saved_graph import save_graph
from export.weight_pages import WeightPages
from runtime.contract import GraphContract
from runtime.manifest import GraphEntry

UNSEEN = np.array(-1e9, np.float32)
"""A score whose share of a softmax is zero."""


def lower(
    source: Path,
    contract: GraphContract,
    target: Path,
    parameters: int,
    progress: Callable[[int], None],
) -> GraphEntry:
    """Writes the graph at `source` into folder `target`, in standard operators.

    Args:
        target: folder of the new graph and its weight file, not that of the source.
        parameters: of the source, for the entry.
        progress: told the bytes of the tensors that go over unchanged.

    Raises:
        ContractError: the boundary differs.
    """
    model = ir.load(source)
    target.mkdir(parents=True, exist_ok=True)
    with WeightPages(target, f"{contract.name}.weights") as pages:
        constants = Constants(model.graph, pages)
        ConstantAxes(constants)(model)
        JoinedBlocks(constants)(model)
        PlainAttention(constants)(model)
        constants.copy_rest(progress)
    return save_graph(model, contract, target, parameters)


class ConstantAxes(ir.passes.InPlacePass):
    """Promise: the axes of a mean are a constant, not a reshaped one."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            reshape = _producer(node, 1) if node.op_type == "ReduceMean" else None
            axes = None
            if reshape is not None and reshape.op_type == "Reshape":
                axes = const_ints(reshape.inputs[0])
            if axes is not None:
                value = self._constants.add(f"{node.name}.axes", np.array(axes, np.int64))
                node.replace_input_with(1, value)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


class JoinedBlocks(ir.passes.InPlacePass):
    """Promise: a Scan over blocks of queries (`export.passes.ScanBlocks`) is one Attention.

    TensorRT takes no attention inside a loop, and its kernels keep no scores in memory, which
    is what the loop is for.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if node.op_type == "Scan"]
        for node in found:
            inner = [n for n in node.attributes["body"].as_graph() if n.op_type == "Attention"]
            assert len(inner) == 1, node.name
            (q,), (_, k, v) = node.inputs, inner[0].inputs
            assert q is not None and q.shape is not None
            _, heads, rows, width = q.shape
            assert all(isinstance(size, int) for size in (heads, rows, width)), node.name
            new = _Chain(model.graph, node)
            swapped = new.op("Transpose", q, perm=[1, 0, 2, 3])
            joined = self._reshaped(new, swapped, f"{node.name}.join", (1, heads, -1, width))
            joined.type = ir.TensorType(ir.DataType.FLOAT if q.dtype is None else q.dtype)
            joined.shape = ir.Shape((1, heads, None, width))
            seen = new.op("Attention", joined, k, v)
            blocks = self._reshaped(new, seen, f"{node.name}.split", (heads, -1, rows, width))
            new.end(new.op("Transpose", blocks, perm=[1, 0, 2, 3]))
        return ir.passes.PassResult(model, modified=bool(found))

    def _reshaped(
        self, new: _Chain, value: ir.Value, name: str, shape: tuple[Any, ...]
    ) -> ir.Value:
        return new.op("Reshape", value, self._constants.add(name, np.array(shape, np.int64)))


class PlainAttention(ir.passes.InPlacePass):
    """Promise: an Attention in f32, for which TensorRT has no kernel, is products and a softmax.

    Where queries share keys (a decoder in f32) it stays: export that as f16.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if self._is_plain(node)]
        for node in found:
            q, k, v, *mask = node.inputs
            assert q is not None and q.shape is not None and isinstance(q.shape[-1], int)
            new = _Chain(model.graph, node)
            scale = self._constants.add(
                f"{node.name}.scale", np.array(q.shape[-1] ** -0.5, np.float32)
            )
            scores = new.op(
                "MatMul", new.op("Mul", q, scale), new.op("Transpose", k, perm=[0, 1, 3, 2])
            )
            if mask:
                unseen = self._constants.add(f"{node.name}.unseen", UNSEEN)
                scores = new.op("Where", mask[0], scores, unseen)
            new.end(new.op("MatMul", new.op("Softmax", scores, axis=-1), v))
        return ir.passes.PassResult(model, modified=bool(found))

    @staticmethod
    def _is_plain(node: ir.Node) -> bool:
        if node.op_type != "Attention" or len(node.inputs) > 4:
            return False
        q, k = node.inputs[:2]
        assert q is not None and q.shape is not None and k is not None and k.shape is not None
        return q.dtype == ir.DataType.FLOAT and q.shape[1] == k.shape[1]


class _Chain:
    """Nodes in the place of another."""

    def __init__(self, graph: ir.Graph, old: ir.Node) -> None:
        self._graph = graph
        self._old = old
        self._count = 0

    def op(self, kind: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        node = ir.node(kind, inputs, attributes, name=f"{self._old.name}.{self._count}")
        self._count += 1
        node.outputs[0].name = f"{node.name}.value"
        self._graph.insert_before(self._old, node)
        return node.outputs[0]

    def end(self, result: ir.Value) -> None:
        """What the old node gave is this; the node goes."""
        old = self._old.outputs[0]
        result.name, result.shape, result.type = old.name, old.shape, old.type
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self._graph.remove(self._old, safe=True)


def _producer(node: ir.Node, index: int) -> ir.Node | None:
    value = node.inputs[index] if len(node.inputs) > index else None
    return None if value is None else value.producer()
