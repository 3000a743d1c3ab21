"""Builds a branch of an If: nodes that read values of the graph around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from omnijet.runtime.bundle.contract import Array


class Branch:
    """The nodes of one branch; names begin with that of the branch."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[ir.Node] = []

    def op(
        self, kind: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """Adds a node and returns its output."""
        name = f"{self._name}.{len(self._nodes)}"
        node = ir.node(kind, inputs, attributes, domain=domain, name=name)
        node.outputs[0].name = f"{name}.value"
        self._nodes.append(node)
        return node.outputs[0]

    def tensor(self, values: Array) -> ir.Value:
        """Adds a constant."""
        return self.op("Constant", value=ir.tensor(values))

    def shape(self, *sizes: int) -> ir.Value:
        """Adds a shape for Reshape: 0 copies the size of the axis."""
        return self.tensor(np.array(sizes, np.int64))

    def end(self, result: ir.Value, like: ir.Value) -> ir.Graph:
        """Returns the branch; its result has the type of `like`."""
        result.type, result.shape = like.type, like.shape
        return ir.Graph([], [result], nodes=self._nodes, name=self._name)
