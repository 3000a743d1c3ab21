"""Replaces float weights of a traced graph by DequantizeLinear over the checkpoint's numbers."""

from __future__ import annotations

import onnx_ir as ir

from omnijet.export.weights.packed_weight import Numbers, PackedPlan, PackedWeight, Scales, Zeros
from omnijet.export.weights.weight_file import ByteRuns


def carry_packed(model: ir.Model, plan: PackedPlan) -> dict[str, ByteRuns]:
    """Puts DequantizeLinear behind every packed weight, in place.

    A weight keeps its name. Where the checkpoint sorts input features by group, a Gather
    sorts the activation in the same way; the product is unchanged, as only the order of its
    terms differs. A weight whose projections sort differently becomes one product per order.

    Args:
        model: The traced graph.
        plan: The packed weights by name.

    Returns:
        New initializer -> the source of its values.
    """
    sources: dict[str, ByteRuns] = {}
    for name, parts in plan.items():
        old = model.graph.initializers[name]
        (product,) = old.consumers()
        assert product.op_type == "MatMul" and old.dtype is not None
        activation, result = product.inputs[0], product.outputs[0]
        assert activation is not None
        del model.graph.initializers[name]
        nodes: list[ir.Node] = []
        single = len(parts) == 1
        for index, part in enumerate(parts):
            own = name if single else f"{name}.{index}"
            sources.update(_add(model.graph, nodes, own, part, old.dtype, activation))
        if not single:
            ends = [node.outputs[0] for node in nodes if node.op_type == "MatMul"]
            nodes.append(ir.node("Concat", ends, {"axis": -1}, name=f"{name}.joined"))
        end = nodes[-1].outputs[0]
        end.name, end.shape, end.type = result.name, result.shape, result.type
        model.graph.insert_before(product, nodes)
        ir.convenience.replace_all_uses_with(result, end, replace_graph_outputs=True)
        model.graph.remove(product, safe=True)
    return sources


def _add(
    graph: ir.Graph,
    nodes: list[ir.Node],
    name: str,
    part: PackedWeight,
    dtype: ir.DataType,
    activation: ir.Value,
) -> dict[str, ByteRuns]:
    """Appends the nodes of one product and registers its initializers, still without values."""
    scale, zero = f"{name}.scale", f"{name}.zero"
    sources: dict[str, ByteRuns] = {name: Numbers(part), scale: Scales(part, dtype)}
    blocks = (part.groups, part.outputs)
    inputs = [
        _initializer(graph, name, part.dtype, (part.inputs, part.outputs)),
        _initializer(graph, scale, dtype, blocks),
    ]
    if not part.symmetric:
        inputs.append(_initializer(graph, zero, part.dtype, blocks))
        sources[zero] = Zeros(part)
    attributes = {"axis": 0, "block_size": part.packing.group}
    dequantize = ir.node("DequantizeLinear", inputs, attributes, name=f"{name}.dequantize")
    floats = dequantize.outputs[0]
    floats.name, floats.type = f"{name}.dequantized", ir.TensorType(dtype)
    floats.shape = ir.Shape((part.inputs, part.outputs))
    nodes.append(dequantize)
    if part.order is not None:
        index = ir.Value(
            name=f"{name}.order",
            shape=ir.Shape((part.inputs,)),
            type=ir.TensorType(ir.DataType.INT32),
            const_value=ir.tensor(part.order, name=f"{name}.order"),
        )
        graph.register_initializer(index)
        gather = ir.node("Gather", [activation, index], {"axis": -1}, name=f"{name}.sort")
        nodes.append(gather)
        gather.outputs[0].name = f"{name}.sorted"
        gather.outputs[0].shape, gather.outputs[0].type = activation.shape, activation.type
        activation = gather.outputs[0]
    product = ir.node("MatMul", [activation, floats], name=f"{name}.product")
    product.outputs[0].name = f"{name}.result"
    product.outputs[0].type = ir.TensorType(dtype)
    nodes.append(product)
    return sources


def _initializer(
    graph: ir.Graph, name: str, dtype: ir.DataType, shape: tuple[int, int]
) -> ir.Value:
    axes = ir.Shape(shape)
    value = ir.Value(name=name, shape=axes, type=ir.TensorType(dtype))
    value.const_value = ir.ExternalTensor("", 0, None, dtype, shape=axes, name=name)
    graph.register_initializer(value)
    return value
