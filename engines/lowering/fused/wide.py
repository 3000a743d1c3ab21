"""A 16-bit graph in f32: processors compute in f32 whatever the file says.

ONNX Runtime's CPU provider has few kernels in 16 bits. It casts around the others at each call,
and makes the weights f32 at each start.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

HALVES = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
FLOATS = {ir.DataType.FLOAT, *HALVES}
PRODUCTS = {"MatMul", "MatMulNBits"}


class WideFloats(ir.passes.InPlacePass):
    """Promise: no value is in 16 bits; weights hold the same numbers in f32."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        for inner in (graph, *graph.subgraphs()):
            for node in list(inner):
                if _is_float_cast(node):
                    _bypass(inner, node)
        narrow = [value for value in _values(graph) if value.dtype in HALVES]
        for value in narrow:
            if value.const_value is not None:
                value.const_value = _widened(value.const_value)
            value.dtype = ir.DataType.FLOAT
        return ir.passes.PassResult(model, modified=bool(narrow))


class UnguardedProducts(ir.passes.InPlacePass):
    """Promise: no product is guarded against the range of f16 (`export.modules.base.Linear`).

    The guard divides by a power of two before a product and multiplies by it afterwards, so that
    nothing changes in f32.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [pair for node in model.graph if (pair := _guard(node)) is not None]
        for node in (one for pair in found for one in pair):
            _bypass(model.graph, node)
        return ir.passes.PassResult(model, modified=bool(found))


def _widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Returns the same numbers in f32, read when they are written or replaced."""

    def read() -> ir.TensorProtocol:
        return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)

    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(read, ir.DataType.FLOAT, shape=shape, name=tensor.name)


def _guard(divide: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """Returns the division and the multiplication around a product, or None."""
    factor = _power(divide, "Div")
    if factor is None:
        return None
    node = divide
    product = False
    for _ in range(3):  # at most a scaling of features, and the product itself
        readers = node.outputs[0].consumers()
        if len(readers) != 1:
            return None
        (node,) = readers
        if product:
            return (divide, node) if _power(node, "Mul") == factor else None
        product = node.op_type in PRODUCTS
        if not product and node.op_type not in ("Mul", "Div"):
            return None  # such as a rounding, whose range is that of guarded values
    return None


def _power(node: ir.Node, kind: str) -> float | None:
    """Returns the power of two that a node of this kind divides or multiplies by, or None."""
    if node.op_type != kind:
        return None
    value = node.inputs[1]
    maker = value.producer() if value is not None else None
    if maker is None or maker.op_type != "Constant" or "value" not in maker.attributes:
        return None
    array = maker.attributes["value"].as_tensor().numpy()
    number = float(array) if array.ndim == 0 else 0.0
    return number if number > 0 and np.log2(number).is_integer() else None


def _is_float_cast(node: ir.Node) -> bool:
    value = node.inputs[0] if node.op_type == "Cast" else None
    return (
        value is not None
        and value.dtype in FLOATS
        and ir.DataType(node.attributes["to"].as_int()) in FLOATS
    )


def _bypass(graph: ir.Graph, node: ir.Node) -> None:
    """Removes a node; its readers read what it read."""
    before, after = node.inputs[0], node.outputs[0]
    assert before is not None
    name, is_boundary = after.name, after.is_graph_output()
    ir.convenience.replace_all_uses_with(after, before, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if is_boundary:  # it keeps its names, those of its axes, too
        assert before.producer() is not None, node
        before.name, before.shape = name, after.shape


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for inner in (graph, *graph.subgraphs()):
        yield from inner.inputs
        yield from list(inner.initializers.values())
        for node in inner:
            yield from node.outputs
