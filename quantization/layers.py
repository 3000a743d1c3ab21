"""A layer that can be quantized: a product with a weight."""

from __future__ import annotations

from dataclasses import dataclass

from omnijet.quantization.schemes import Half


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
