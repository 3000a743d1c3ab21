"""The form that ONNX Runtime's CPU provider runs fastest.

Quantized products become ONNX Runtime's own integer operators. ONNX Runtime has passes for this,
but they run at every start: they transpose every weight again, take the accuracy of block weights
from the session instead of the file, and leave a product in floats if several layers share its
activation or its bias was fused before (ONNX Runtime 1.32).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.frame import Lowering
from omnijet.export.graphfile.constants import const_ints
from omnijet.export.graphfile.weight_pages import pack_int4
from omnijet.runtime.bundle.contract import Array, GraphContract

DOMAIN = "com.microsoft"
BITS = {
    ir.DataType.INT4: 4,
    ir.DataType.UINT4: 4,
    ir.DataType.INT8: 8,
    ir.DataType.UINT8: 8,
}
SIGNED = {ir.DataType.INT4, ir.DataType.INT8}

EXACT, IN_INT8 = 1, 4
"""Accuracy levels of MatMulNBits: f32, or activations rounded to int8 block by block."""


def _passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    return BlockProducts(constants, accuracy_levels(contract)), IntegerProducts(constants)


lower = Lowering(_passes, domains=(DOMAIN,))


def accuracy_levels(contract: GraphContract) -> dict[int, int]:
    """Returns the accuracy level for each number of weight bits, chosen by measurement
    (`python -m tools.bench.products`).

    With 4 bits, int8 makes a product of one row twice as fast and one of 100 rows or more 15 %
    slower than f32; a graph with KV caches decodes row by row. With 8 bits, f32 is 2 to 90 times
    slower. Rounding activations adds a relative error of 5e-3 to the 1e-1 that 4 bits cost.
    """
    return {4: IN_INT8 if contract.state else EXACT, 8: IN_INT8}


class BlockProducts(ir.passes.InPlacePass):
    """Promise: a MatMul whose weight is dequantized in blocks becomes one MatMulNBits.

    Args:
        halves: whether a product that is read in two halves becomes two products.
    """

    def __init__(
        self, constants: Constants, levels: Mapping[int, int], halves: bool = False
    ) -> None:
        self._constants = constants
        self._levels = levels
        self._halves = halves

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if _blocks_of(node) is not None]
        for node in found:
            self._lower(model, node)
        return ir.passes.PassResult(model, modified=bool(found))

    def _lower(self, model: ir.Model, node: ir.Node) -> None:
        weight = _blocks_of(node)
        assert weight is not None
        stored, name = _stored_blocks(weight), str(_tensor(weight.inputs[0]).name)
        split = halving(node) if self._halves else None
        if split is None:
            new = self._product(node, weight, name, stored)
            _replace(model, node, new, new.outputs[0])
        else:
            for half, result in enumerate(split.outputs):
                parts = {kind: np.array_split(rows, 2)[half] for kind, rows in stored.items()}
                new = self._product(node, weight, f"{name}.{half}", parts)
                _replace(model, node, new, new.outputs[0], result)
            model.graph.remove(split, safe=True)
        self._constants.remove(node)

    def _product(
        self, node: ir.Node, weight: ir.Node, name: str, stored: Mapping[str, Array]
    ) -> ir.Node:
        values = _tensor(weight.inputs[0])
        bits, inputs = BITS[values.dtype], int(values.shape.numpy()[0])
        block, outputs = weight.attributes["block_size"].as_int(), len(stored["columns"])
        operands = [self._constants.add(f"{name}.{kind}", rows) for kind, rows in stored.items()]
        attributes = {
            "K": inputs, "N": outputs, "bits": bits, "block_size": block,
            "accuracy_level": self._levels[bits],
        }  # fmt: skip
        place = str(node.name) + name.removeprefix(str(values.name))
        return ir.node(
            "MatMulNBits", [node.inputs[0], *operands], attributes, domain=DOMAIN, name=place
        )


class IntegerProducts(ir.passes.InPlacePass):
    """Promise: a MatMul of an int8 activation and an int8 weight becomes MatMulIntegerToFloat.

    The activation becomes unsigned with zero point 128, because processors want an unsigned first
    operand. The operator returns f32; an f16 graph gets a Cast behind it.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._quantized: dict[ir.Value, tuple[ir.Value, ir.Value, ir.Value]] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if _integers_of(node) is not None]
        for node in found:
            self._lower(model, node)
        return ir.passes.PassResult(model, modified=bool(found))

    def _lower(self, model: ir.Model, node: ir.Node) -> None:
        pair = _integers_of(node)
        assert pair is not None
        activation, weight = pair
        values, name = weight.inputs[0], str(_tensor(weight.inputs[0]).name)
        scales = _tensor(weight.inputs[1]).numpy().astype(np.float32)
        signed = activation.inputs[0]
        assert signed is not None
        if signed not in self._quantized:
            self._quantized[signed] = self._unsigned(model.graph, signed)
        unsigned, scale, zero = self._quantized[signed]
        new = ir.node(
            "MatMulIntegerToFloat",
            [unsigned, values, scale, self._constants.add(f"{name}.scales", scales), zero],
            domain=DOMAIN,
            name=node.name,
        )
        product = new.outputs[0]
        product.name, product.type = f"{name}.product", ir.TensorType(ir.DataType.FLOAT)
        product.shape = node.outputs[0].shape
        if node.outputs[0].dtype == ir.DataType.FLOAT16:
            model.graph.insert_before(node, new)
            new = ir.node("Cast", [product], {"to": ir.DataType.FLOAT16}, name=f"{name}.cast")
        _replace(model, node, new, new.outputs[0])
        self._constants.remove(node)

    def _unsigned(self, graph: ir.Graph, signed: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Returns the activation as u8, its scale in f32, and its zero point."""
        quantize = signed.producer()
        assert quantize is not None
        name = str(signed.name)
        zero = self._constants.add(f"{name}.middle", np.array(128, np.uint8))
        scale = _tensor(quantize.inputs[1]).numpy().astype(np.float32)
        new = ir.node(
            "QuantizeLinear", [*quantize.inputs[:2], zero], name=f"{quantize.name}.unsigned"
        )
        value = new.outputs[0]
        value.name, value.shape = f"{name}.unsigned", signed.shape
        value.type = ir.TensorType(ir.DataType.UINT8)
        graph.insert_before(quantize, new)
        return value, self._constants.add(f"{name}.scale", scale), zero


def _blocks_of(node: ir.Node) -> ir.Node | None:
    """Returns the node that dequantizes this product's weight in blocks, or None."""
    weight = _dequantized(node, 1)
    if weight is None or "block_size" not in weight.attributes:
        return None
    return weight


def _integers_of(node: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """Returns the nodes that dequantize activation and weight if both are int8, or None."""
    activation, weight = _dequantized(node, 0), _dequantized(node, 1)
    if activation is None or weight is None or "block_size" in weight.attributes:
        return None
    stored = (activation.inputs[0], weight.inputs[0])
    if any(value is None or value.dtype != ir.DataType.INT8 for value in stored):
        return None
    quantize = stored[0].producer() if stored[0] is not None else None
    if quantize is None or quantize.op_type != "QuantizeLinear" or not _is_constant(stored[1]):
        return None
    return activation, weight


def _dequantized(node: ir.Node, index: int) -> ir.Node | None:
    value = node.inputs[index] if node.op_type == "MatMul" else None
    maker = value.producer() if value is not None else None
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _stored_blocks(weight: ir.Node) -> dict[str, Array]:
    """Returns the parts of a weight as MatMulNBits takes them: a row for each output feature."""
    values = _tensor(weight.inputs[0])
    bits, block = BITS[values.dtype], weight.attributes["block_size"].as_int()
    inputs, outputs = values.shape.numpy()
    columns = _packed(values.numpy().T, bits)
    # MatMulNBits takes unsigned values: without zero points, zero is in the middle
    if values.dtype in SIGNED:
        columns ^= np.uint8(0x88 if bits == 4 else 0x80)
    stored = {
        "columns": columns.reshape(outputs, inputs // block, -1),
        "scales": np.ascontiguousarray(_tensor(weight.inputs[1]).numpy().T),
    }
    if len(weight.inputs) > 2:
        assert values.dtype not in SIGNED, weight.name
        stored["zeros"] = _packed(_tensor(weight.inputs[2]).numpy().T, bits)
    return stored


def halving(product: ir.Node) -> ir.Node | None:
    """Returns the node that alone reads a product, and splits it in two halves, or None."""
    result = product.outputs[0]
    readers = result.consumers()
    if len(readers) != 1 or result.is_graph_output():
        return None
    (split,) = readers
    if split.op_type != "Split" or len(split.outputs) != 2:
        return None
    axis = split.attributes["axis"].as_int() if "axis" in split.attributes else 0
    sizes = const_ints(split.inputs[1]) if len(split.inputs) > 1 else None
    is_last = axis in (-1, len(result.shape or ()) - 1)
    return split if is_last and sizes is not None and len(set(sizes)) == 1 else None


def _replace(
    model: ir.Model,
    old: ir.Node,
    new: ir.Node,
    result: ir.Value,
    before: ir.Value | None = None,
) -> None:
    before = old.outputs[0] if before is None else before
    result.name, result.shape, result.type = before.name, before.shape, before.type
    model.opset_imports[DOMAIN] = 1
    model.graph.insert_before(old, new)
    ir.convenience.replace_all_uses_with(before, result, replace_graph_outputs=True)


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None


def _tensor(value: ir.Value | None) -> ir.TensorProtocol:
    assert value is not None and value.const_value is not None
    return value.const_value


def _packed(rows: Array, bits: int) -> Array:
    """Packs rows into u8[rows, ceil(width * bits / 8)]; each row begins with a new byte."""
    rows = np.ascontiguousarray(rows).view(np.uint8)
    if bits == 8:
        return rows
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    return pack_int4(rows).reshape(len(rows), -1)
