"""Fewer and smaller steps around 16-bit products, for GPUs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN
from omnijet.runtime.bundle.contract import Array

HALVES = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
BLOCK = 128
"""Inputs that share a scale in MatMulNBits where a weight has one scale for each output."""
MIDDLE = 0x80  # the zero of unsigned bytes


class NarrowBiases(ir.passes.InPlacePass):
    """Promise: a bias between a 16-bit product and a 16-bit reader is added in 16 bits.

    The sum is rounded once either way, after the product was.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [chain for node in model.graph if (chain := _biased(node)) is not None]
        for widening, add, narrowing in found:
            self._narrow(model.graph, widening, add, narrowing)
        return ir.passes.PassResult(model, modified=bool(found))

    def _narrow(self, graph: ir.Graph, widening: ir.Node, add: ir.Node, narrowing: ir.Node) -> None:
        product, result = widening.inputs[0], narrowing.outputs[0]
        assert product is not None and product.dtype is not None
        bias = _bias(add)
        values = _numpy(bias).astype(product.dtype.numpy())
        narrow = self._constants.add(f"{bias.name}.{product.dtype.name.lower()}", values)
        new = ir.node("Add", [product, narrow], name=add.name)
        value = new.outputs[0]
        value.name, value.shape, value.type = result.name, result.shape, result.type
        graph.insert_before(narrowing, new)
        ir.convenience.replace_all_uses_with(result, value, replace_graph_outputs=True)
        graph.remove(narrowing, safe=True)
        self._constants.remove(add)
        graph.remove(widening, safe=True)


class ChannelProducts(ir.passes.InPlacePass):
    """Promise: a product of an int8 activation and an int8 weight becomes a MatMulNBits of 8 bits.

    CUDA has no kernel for products of integers, and would dequantize the weight at every call. The
    activation is rounded as before.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [(n, weight) for n in model.graph if (weight := _channels_of(n)) is not None]
        for node, weight in found:
            self._lower(model, node, weight)
        return ir.passes.PassResult(model, modified=bool(found))

    def _lower(self, model: ir.Model, node: ir.Node, weight: ir.Node) -> None:
        values = _numpy(weight.inputs[0])
        name = f"{node.inputs[1].name}"  # type: ignore[union-attr]
        inputs, outputs = values.shape
        count = -(-inputs // BLOCK)
        columns = np.zeros((outputs, count * BLOCK), np.int8)
        columns[:, :inputs] = values.T
        unsigned = columns.view(np.uint8) ^ np.uint8(MIDDLE)
        scales = np.broadcast_to(_numpy(weight.inputs[1]), outputs)
        operands = [
            self._constants.add(f"{name}.columns", unsigned.reshape(outputs, count, BLOCK)),
            self._constants.add(f"{name}.scales", np.repeat(scales[:, None], count, axis=1)),
        ]
        attributes = {"K": inputs, "N": outputs, "bits": 8, "block_size": BLOCK}
        new = ir.node("MatMulNBits", [node.inputs[0], *operands], attributes, domain=DOMAIN,
                      name=node.name)  # fmt: skip
        old, value = node.outputs[0], new.outputs[0]
        value.name, value.shape, value.type = old.name, old.shape, old.type
        model.opset_imports[DOMAIN] = 1
        model.graph.insert_before(node, new)
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        self._constants.remove(node)


def _biased(widening: ir.Node) -> Sequence[ir.Node] | None:
    """Returns cast, sum with a bias and cast back of a 16-bit value, or None."""
    if not _is_cast(widening, HALVES, {ir.DataType.FLOAT}):
        return None
    chain = [widening]
    for _ in range(2):
        value = chain[-1].outputs[0]
        readers = value.consumers()
        if len(readers) != 1 or value.is_graph_output():
            return None
        chain.append(readers[0])
    add, narrowing = chain[1:]
    if add.op_type != "Add" or not any(map(_is_vector, add.inputs)):
        return None
    product = widening.inputs[0]
    assert product is not None and product.dtype is not None
    return chain if _is_cast(narrowing, {ir.DataType.FLOAT}, {product.dtype}) else None


def _channels_of(node: ir.Node) -> ir.Node | None:
    """Returns the node that dequantizes this product's int8 weight if the activation is int8."""
    makers = [value.producer() if value is not None else None for value in node.inputs]
    if node.op_type != "MatMul" or any(
        maker is None or maker.op_type != "DequantizeLinear" for maker in makers
    ):
        return None
    weight = makers[1]
    assert weight is not None
    stored = weight.inputs[0]
    if stored is None or stored.dtype != ir.DataType.INT8 or stored.const_value is None:
        return None
    return None if "block_size" in weight.attributes else weight


def _is_cast(node: ir.Node, before: set[ir.DataType], after: set[ir.DataType]) -> bool:
    value = node.inputs[0] if node.op_type == "Cast" else None
    if value is None or value.dtype not in before:
        return False
    return ir.DataType(node.attributes["to"].as_int()) in after


def _is_vector(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and len(value.shape or ()) == 1


def _bias(add: ir.Node) -> ir.Value:
    value = next(one for one in add.inputs if _is_vector(one))
    assert value is not None
    return value


def _numpy(value: ir.Value | None) -> Array:
    assert value is not None and value.const_value is not None
    array: Array = value.const_value.numpy()
    return array
