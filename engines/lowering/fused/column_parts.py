"""Products whose result is split: one product for each part."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.chain import described
from omnijet.engines.lowering.constants import Constants
from omnijet.export.graphfile.constants import const_ints
from omnijet.runtime.bundle.contract import Array

PRODUCTS = {"MatMul", "MatMulIntegerToFloat"}


class ColumnParts(ir.passes.InPlacePass):
    """Promise: a product with a constant weight that only a Split reads becomes one product for
    each part; a bias between them is parted, too.

    A Split copies all parts. A product of a third as many columns is as fast.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [chain for node in model.graph if (chain := _parted(node)) is not None]
        for chain in found:
            self._part(model.graph, chain)
        return ir.passes.PassResult(model, modified=bool(found))

    def _part(self, graph: ir.Graph, chain: list[ir.Node]) -> None:
        *nodes, split = chain
        for index, output in enumerate(split.outputs):
            made: dict[ir.Value, ir.Value] = {}
            for node in nodes:
                inputs = [
                    None if one is None else made.get(one) or self._cut(one, index, split, node)
                    for one in node.inputs
                ]
                new = ir.node(node.op_type, inputs, domain=node.domain, name=f"{node.name}.{index}")
                value = new.outputs[0]
                value.name = f"{node.outputs[0].name}.{index}"
                described(value, output.dtype, output.shape or ())
                graph.insert_before(node, new)
                made[node.outputs[0]] = value
            ir.convenience.replace_all_uses_with(output, value)
        for node in reversed(chain):
            self._constants.remove(node)

    def _cut(self, value: ir.Value, index: int, split: ir.Node, node: ir.Node) -> ir.Value:
        """Returns the columns of one part of a constant; scalars and rows stay as they are."""
        width = _width(node)
        if value.const_value is None or not value.shape or value.shape[-1] != width:
            return value
        whole, parts = value.const_value.numpy(), len(split.outputs)
        columns: Array = np.ascontiguousarray(np.array_split(whole, parts, axis=-1)[index])
        return self._constants.add(f"{value.name}.{index}", columns)


def _parted(product: ir.Node) -> list[ir.Node] | None:
    """Returns a product, what adds its bias, and what splits it into equal parts, or None."""
    if product.op_type not in PRODUCTS or not _is_constant(product.inputs[1]):
        return None
    chain = [product]
    while chain[-1].op_type != "Split":
        readers = chain[-1].outputs[0].consumers()
        if len(readers) != 1 or chain[-1].outputs[0].is_graph_output():
            return None
        (reader,) = readers
        is_bias = reader.op_type == "Add" and any(map(_is_constant, reader.inputs))
        if reader.op_type != "Split" and (not is_bias or len(chain) > 1):
            return None
        chain.append(reader)
    split, width = chain[-1], _width(product)
    sizes = _ints(split.inputs[1]) if len(split.inputs) > 1 else []
    equal = sizes is not None and len(set(sizes)) < 2
    axis, rank = split.attributes["axis"].as_int(), len(product.outputs[0].shape or ())
    is_last = axis in (-1, rank - 1)
    return chain if equal and is_last and width % len(split.outputs) == 0 else None


def _width(node: ir.Node) -> int:
    """Returns the number of output features."""
    constant = next(value for value in (*node.inputs[1:], *node.inputs[:1]) if _is_constant(value))
    assert constant is not None and constant.shape is not None
    width = constant.shape[-1]
    assert isinstance(width, int)
    return width


def _ints(value: ir.Value | None) -> list[int] | None:
    """Returns the integers of a constant or an initializer, or None."""
    if value is not None and value.const_value is not None:
        return [int(item) for item in value.const_value.numpy()]
    return const_ints(value)


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None
