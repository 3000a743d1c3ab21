"""The initializers of a graph while a lowering rewrites it."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.runtime.bundle.contract import Array


class Constants:
    """A graph's initializers, some of them replaced in the new weight file."""

    def __init__(self, graph: ir.Graph, pages: WeightPages) -> None:
        self._graph = graph
        self._pages = pages
        self._written: set[str] = set()

    def add(self, name: str, values: Array) -> ir.Value:
        tensor = self._pages.add(name, values)
        value = ir.Value(
            name=name,
            shape=ir.Shape(values.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self._graph.register_initializer(value)
        self._written.add(name)
        return value

    def remove(self, node: ir.Node) -> None:
        """Removes a node, the (de)quantize nodes that serve it alone, and unused constants."""
        inputs = [value for value in node.inputs if value is not None]
        self._graph.remove(node, safe=True)
        for value in inputs:
            maker = value.producer()
            if value.uses() or value.is_graph_output():
                continue
            if maker is not None and maker.op_type in ("DequantizeLinear", "QuantizeLinear"):
                self.remove(maker)
            elif value.is_initializer():
                del self._graph.initializers[str(value.name)]

    def copy_rest(self, progress: Callable[[int], None]) -> None:
        """Copies all initializers that were not replaced; `progress` receives the bytes of each."""
        for name, value in self._graph.initializers.items():
            if name in self._written or value.const_value is None:
                continue
            tensor = value.const_value
            if isinstance(tensor, ir.LazyTensor):
                tensor = self._pages.add(name, tensor.numpy())
            else:
                tensor = self._pages.copy(tensor)
            value.const_value = tensor
            progress(int(tensor.nbytes))
