"""The residual stream: one operator adds and normalises; SiLU is one operator, too."""

from __future__ import annotations

import onnx_ir as ir

from omnijet.engines.lowering.cpu import DOMAIN


class SkipNorms(ir.passes.InPlacePass):
    """Promise: an RMSNormalization of a sum in f32 becomes SkipSimplifiedLayerNormalization, which
    returns the sum, too.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [pair for node in model.graph if (pair := _summed(node)) is not None]
        for add, norm in found:
            _fuse(model, add, norm)
        return ir.passes.PassResult(model, modified=bool(found))


class Silu(ir.passes.InPlacePass):
    """Promise: x * sigmoid(x) becomes QuickGelu with factor 1."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [pair for node in model.graph if (pair := _gated(node)) is not None]
        for sigmoid, product in found:
            new = ir.node(
                "QuickGelu", [sigmoid.inputs[0]], {"alpha": 1.0}, domain=DOMAIN, name=product.name
            )
            old, value = product.outputs[0], new.outputs[0]
            value.name, value.shape, value.type = old.name, old.shape, old.type
            model.opset_imports[DOMAIN] = 1
            model.graph.insert_before(sigmoid, new)
            ir.convenience.replace_all_uses_with(old, value)
            model.graph.remove(product, safe=True)
            model.graph.remove(sigmoid, safe=True)
        return ir.passes.PassResult(model, modified=bool(found))


def _summed(norm: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """Returns the sum that a norm reads, and the norm, or None."""
    value = norm.inputs[0] if norm.op_type == "RMSNormalization" else None
    add = value.producer() if value is not None else None
    if add is None or add.op_type != "Add" or value is None or value.dtype != ir.DataType.FLOAT:
        return None
    axis = norm.attributes["axis"].as_int() if "axis" in norm.attributes else -1
    shapes = [one.shape for one in add.inputs if one is not None and one.const_value is None]
    if axis != -1 or len(shapes) != 2 or any(shape is None or len(shape) != 3 for shape in shapes):
        return None
    norms = [node for node in value.consumers() if node.op_type == norm.op_type]
    return (add, norm) if norms == [norm] else None


def _fuse(model: ir.Model, add: ir.Node, norm: ir.Node) -> None:
    new = ir.node(
        "SkipSimplifiedLayerNormalization",
        [*add.inputs, norm.inputs[1]],
        {"epsilon": norm.attributes["epsilon"].as_float()},
        domain=DOMAIN,
        num_outputs=4,
        name=norm.name,
    )
    model.opset_imports[DOMAIN] = 1
    for old, value in ((norm.outputs[0], new.outputs[0]), (add.outputs[0], new.outputs[3])):
        value.name, value.shape, value.type = old.name, old.shape, old.type
    for value in new.outputs[1:3]:
        value.name = ""
    model.graph.insert_before(add, new)
    for old, value in ((norm.outputs[0], new.outputs[0]), (add.outputs[0], new.outputs[3])):
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    model.graph.remove(norm, safe=True)
    model.graph.remove(add, safe=True)


def _gated(product: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """Returns a sigmoid and the product of it with its own input, or None."""
    if product.op_type != "Mul":
        return None
    for gate, other in (product.inputs, product.inputs[::-1]):
        maker = gate.producer() if gate is not None else None
        if maker is not None and maker.op_type == "Sigmoid" and maker.inputs[0] is other:
            return (maker, product) if len(maker.outputs[0].uses()) == 1 else None
    return None
