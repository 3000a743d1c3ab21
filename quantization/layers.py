"""Finds the layers of a graph that can be quantized: products with a weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from omnijet.quantization.schemes import Half

HALVES: Mapping[ir.DataType, Half] = {
    ir.DataType.FLOAT16: "f16",
    ir.DataType.BFLOAT16: "bf16",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A MatMul of an activation [..., inputs] with a weight [inputs, outputs].

    Attributes:
        name: the exporter's name of the weight, such as `decoder.layers.0.qkv.weight`.
        activation: name of the value that is multiplied.
        half: 16-bit type of the float weight; None: f32.
    """

    graph: str
    name: str
    activation: str
    inputs: int
    outputs: int
    half: Half = None

    @property
    def itemsize(self) -> int:
        """Bytes of one number of the float weight."""
        return 4 if self.half is None else 2

    @property
    def float_bytes(self) -> int:
        return self.parameters * self.itemsize

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs


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
