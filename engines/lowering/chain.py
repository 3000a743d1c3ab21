"""Nodes that a lowering puts in the place of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.runtime.bundle.contract import Array


class Chain:
    """New nodes in front of an old one, which goes at the end; their names begin with its."""

    def __init__(self, graph: ir.Graph, old: ir.Node, constants: Constants) -> None:
        self._graph = graph
        self._old = old
        self._constants = constants
        self._count = 0

    def op(self, kind: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The first output of a new node."""
        return self.node(kind, inputs, 1, **attributes)[0]

    def node(
        self, kind: str, inputs: Sequence[ir.Value | None], outputs: int, **attributes: Any
    ) -> Sequence[ir.Value]:
        """All outputs of a new node."""
        name = f"{self._old.name}.{self._count}"
        node = ir.node(kind, inputs, attributes, num_outputs=outputs, name=name)
        self._count += 1
        for index, value in enumerate(node.outputs):
            value.name = f"{name}.value" if outputs == 1 else f"{name}.value.{index}"
        self._graph.insert_before(self._old, node)
        return node.outputs

    def constant(self, what: str, values: Array) -> ir.Value:
        """Of this chain alone, named after the old node and `what`."""
        return self._constants.add(f"{self._old.name}.{what}", values)

    def ints(self, what: str, *values: int | ir.SymbolicDim) -> ir.Value:
        """i64[len(values)]: axes, lengths, shapes. No symbol can be among them."""
        assert all(isinstance(value, int) for value in values), (self._old.name, what, values)
        return self.constant(what, np.array(values, np.int64))

    def end(self, result: ir.Value) -> None:
        """What the old node gave is this; the node goes."""
        old = self._old.outputs[0]
        result.name, result.shape, result.type = old.name, old.shape, old.type
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self._graph.remove(self._old, safe=True)


def described(value: ir.Value, dtype: ir.DataType | None, shape: Sequence[Any]) -> ir.Value:
    """The value, its type and shape known to passes that follow."""
    value.type = ir.TensorType(ir.DataType.FLOAT if dtype is None else dtype)
    value.shape = ir.Shape(shape)
    return value


def producer(node: ir.Node, index: int) -> ir.Node | None:
    """The node that makes this input, or None."""
    value = node.inputs[index] if len(node.inputs) > index else None
    return None if value is None else value.producer()
