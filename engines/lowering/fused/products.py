"""Products with weights: bias inside, and two products in place of one whose result is split."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import halving
from omnijet.runtime.bundle.contract import Array

BIAS = {"MatMulNBits": 5, "MatMulIntegerToFloat": 6}
"""Place of the bias among a product's inputs."""
WEIGHT_ZERO = 5
"""Place of the weight's zero point among the inputs of MatMulIntegerToFloat."""
COLUMNS = {
    "MatMulNBits": ((1, 0), (2, 0), (3, 0)),
    "MatMulIntegerToFloat": ((1, 1), (3, 0), (5, 0)),
}
"""Inputs of a product that have a part for each output feature, and the axis of these."""


class Biases(ir.passes.InPlacePass):
    """Promise: a quantized product adds its bias itself."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [pair for node in model.graph if (pair := _biased(node)) is not None]
        for product, add in found:
            place = BIAS[product.op_type]
            bias = next(value for value in add.inputs if _is_vector(value))
            product.resize_inputs(place + 1)
            product.replace_input_with(place, bias)
            _take_over(model.graph, product, add)
        return ir.passes.PassResult(model, modified=bool(found))


class Halves(ir.passes.InPlacePass):
    """Promise: a quantized product that is read in two halves becomes two products.

    The split copies both halves: 45 MB for 512 rows of gate and up of the 3B.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [pair for node in model.graph if (pair := _halved(node)) is not None]
        for product, split in found:
            self._part(model.graph, product, split)
        return ir.passes.PassResult(model, modified=bool(found))

    def _part(self, graph: ir.Graph, product: ir.Node, split: ir.Node) -> None:
        places = [
            (place, axis)
            for place, axis in COLUMNS[product.op_type] + ((BIAS[product.op_type], 0),)
            if place < len(product.inputs) and _has_parts(product.inputs[place])
        ]
        width = _width(product) // 2
        parts: list[list[ir.Value | None]] = [list(product.inputs) for _ in range(2)]
        for place, axis in places:
            value = product.inputs[place]
            assert value is not None and value.const_value is not None
            array = value.const_value.numpy()
            for half, inputs in enumerate(parts):
                rows: Array = np.take(array, range(half * width, (half + 1) * width), axis)
                inputs[place] = self._constants.add(f"{value.name}.{half}", rows)
        attributes = {name: attribute.value for name, attribute in product.attributes.items()}
        if "N" in attributes:
            attributes["N"] = width
        for half, inputs in enumerate(parts):
            name = f"{product.name}.{half}"
            new = ir.node(product.op_type, inputs, attributes, domain=product.domain, name=name)
            old, value = split.outputs[half], new.outputs[0]
            value.name, value.shape, value.type = old.name, old.shape, old.type
            graph.insert_before(product, new)
            ir.convenience.replace_all_uses_with(old, value)
        graph.remove(split, safe=True)
        self._constants.remove(product)


class WeightZeros(ir.passes.InPlacePass):
    """Promise: every product of integers states its weight's zero point, which is 0.

    Where ONNX Runtime 1.23 makes weights unsigned, so that sums do not saturate on x86 without VNNI
    (`session.x64quantprecision`), it crashes at a product without one; and with a bias behind an
    empty one it does nothing, so that the product is wrong. It takes no zero point of two products.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if _lacks_zero(node)]
        for node in found:
            zero = self._constants.add(f"{node.name}.weight_zero", np.array(0, np.int8))
            node.resize_inputs(max(len(node.inputs), WEIGHT_ZERO + 1))
            node.replace_input_with(WEIGHT_ZERO, zero)
        return ir.passes.PassResult(model, modified=bool(found))


def _lacks_zero(node: ir.Node) -> bool:
    if node.op_type != "MatMulIntegerToFloat":
        return False
    return len(node.inputs) <= WEIGHT_ZERO or node.inputs[WEIGHT_ZERO] is None


def _biased(product: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """Returns a product and the node that adds its bias, or None."""
    place = BIAS.get(product.op_type)
    if place is None or (len(product.inputs) > place and product.inputs[place] is not None):
        return None
    readers = product.outputs[0].consumers()
    if len(readers) != 1 or product.outputs[0].is_graph_output():
        return None
    (add,) = readers
    if add.op_type != "Add" or not any(map(_is_vector, add.inputs)):
        return None
    return product, add


def _halved(product: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """Returns a quantized product and the node that halves its result, or None."""
    split = halving(product) if product.op_type in BIAS else None
    return None if split is None else (product, split)


def _take_over(graph: ir.Graph, product: ir.Node, after: ir.Node) -> None:
    """Removes the node behind a product, which takes its name, readers and place."""
    old, new = after.outputs[0], product.outputs[0]
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, new.shape, new.type = old.name, old.shape, old.type
    graph.remove(after, safe=True)


def _is_vector(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and len(value.shape or ()) == 1


def _has_parts(value: ir.Value | None) -> bool:
    """Returns whether a constant has an axis to be cut; scalars hold for all output features."""
    return value is not None and value.const_value is not None and value.const_value.size > 1


def _width(product: ir.Node) -> int:
    if "N" in product.attributes:
        return product.attributes["N"].as_int()
    weight = product.inputs[1]
    assert weight is not None and weight.shape is not None
    width = weight.shape[1]
    assert isinstance(width, int), weight
    return width
