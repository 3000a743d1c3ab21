"""Finds the layers of a graph that can be quantized: products with a weight."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from omnijet.quantization.layers import Layer
from omnijet.quantization.schemes import Half

HALVES: Mapping[ir.DataType, Half] = {
    ir.DataType.FLOAT16: "f16",
    ir.DataType.BFLOAT16: "bf16",
}


def layers_of(model: ir.Model, graph: str) -> list[Layer]:
    """Returns the layers in the order of the graph. Weights are not read."""
    found = []
    for node in model.graph:
        if node.op_type != "MatMul":
            continue
        activation, weight = node.inputs
        assert activation is not None and weight is not None
        if weight.const_value is None or len(weight.const_value.shape) != 2:
            continue
        inputs, outputs = weight.const_value.shape.numpy()
        half = HALVES.get(weight.const_value.dtype)
        found.append(Layer(graph, str(weight.name), str(activation.name), inputs, outputs, half))
    return found
