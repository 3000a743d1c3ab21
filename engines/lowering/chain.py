"""Builds the nodes that replace another node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.runtime.bundle.contract import Array


class Chain:
    """Inserts new nodes in front of an old one and removes it at the end.

    Names of the new nodes begin with the old node's name.
    """

    def __init__(self, graph: ir.Graph, old: ir.Node, constants: Constants) -> None:
        self._graph = graph
        self._old = old
        self._constants = constants
        self._count = 0

    def op(
        self, kind: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """Adds a node and returns its first output."""
        return self.node(kind, inputs, 1, domain=domain, **attributes)[0]

    def node(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[ir.Value]:
        """Adds a node and returns all its outputs."""
        name = f"{self._old.name}.{self._count}"
        node = ir.node(kind, inputs, attributes, domain=domain, num_outputs=outputs, name=name)
        self._count += 1
        for index, value in enumerate(node.outputs):
            value.name = f"{name}.value" if outputs == 1 else f"{name}.value.{index}"
        self._graph.insert_before(self._old, node)
        return node.outputs

    def constant(self, what: str, values: Array) -> ir.Value:
        """Adds a constant of this chain alone, named after the old node and `what`."""
        return self._constants.add(f"{self._old.name}.{what}", values)

    def ints(self, what: str, *values: int | ir.SymbolicDim) -> ir.Value:
        """Adds a constant i64[len(values)]: axes, lengths or a shape without symbols."""
        assert all(isinstance(value, int) for value in values), (self._old.name, what, values)
        return self.constant(what, np.array(values, np.int64))

    def end(self, result: ir.Value) -> None:
        """Replaces the old node's output by `result` and removes the node."""
        old = self._old.outputs[0]
        result.name, result.shape, result.type = old.name, old.shape, old.type
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self._graph.remove(self._old, safe=True)


def described(value: ir.Value, dtype: ir.DataType | None, shape: Iterable[Any]) -> ir.Value:
    """Sets a value's type and shape for later passes; returns the value."""
    value.type = ir.TensorType(ir.DataType.FLOAT if dtype is None else dtype)
    value.shape = ir.Shape(shape)
    return value


def producer(node: ir.Node, index: int) -> ir.Node | None:
    """Returns the node that makes this input, or None."""
    value = node.inputs[index] if len(node.inputs) > index else None
    return None if value is None else value.producer()
