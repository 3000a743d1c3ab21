"""RotaryEmbedding in older operators."""

from __future__ import annotations

import onnx_ir as ir

from omnijet.engines.lowering.chain import Chain
from omnijet.engines.lowering.constants import Constants


class DecomposedRotary(ir.passes.InPlacePass):
    """Promise: a RotaryEmbedding of [batch, heads, rows, head_dim] becomes products and sums of the
    two halves of each head, or of its even and odd features.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._for_heads: dict[ir.Value, ir.Value] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if node.op_type == "RotaryEmbedding"]
        for node in found:
            x, cos, sin = node.inputs
            assert x is not None and x.shape is not None and len(x.shape) == 4, node.name
            new = Chain(model.graph, node, self._constants)
            angles = [self._over_heads(new, value) for value in (cos, sin)]
            flag = node.attributes.get("interleaved")
            if flag is not None and flag.as_int():
                new.end(_pairs(new, x, *angles))
            else:
                new.end(_halves(new, x, *angles))
        return ir.passes.PassResult(model, modified=bool(found))

    def _over_heads(self, new: Chain, value: ir.Value | None) -> ir.Value:
        """Reshapes to [batch, 1, rows, head_dim / 2], once for all layers."""
        assert value is not None
        if value not in self._for_heads:
            self._for_heads[value] = new.op("Unsqueeze", value, new.ints(f"{value.name}.axes", 1))
        return self._for_heads[value]


def _halves(new: Chain, x: ir.Value, cos: ir.Value, sin: ir.Value) -> ir.Value:
    assert x.shape is not None
    width = x.shape[-1]
    assert isinstance(width, int)
    a, b = new.node("Split", [x, new.ints("halves", width // 2, width // 2)], 2, axis=-1)
    return new.op("Concat", *_rotated(new, a, b, cos, sin), axis=-1)


def _pairs(new: Chain, x: ir.Value, cos: ir.Value, sin: ir.Value) -> ir.Value:
    assert x.shape is not None
    end, axes, step = (new.ints(name, value) for name, value in
                       (("end", 2**31 - 1), ("axes", 3), ("step", 2)))  # fmt: skip
    a, b = (new.op("Slice", x, new.ints(f"start.{start}", start), end, axes, step)
            for start in (0, 1))  # fmt: skip
    last = new.ints("last", -1)
    parts = [new.op("Unsqueeze", part, last) for part in _rotated(new, a, b, cos, sin)]
    joined = new.op("Concat", *parts, axis=-1)
    return new.op("Reshape", joined, new.ints("shape", 0, 0, 0, x.shape[-1]))


def _rotated(
    new: Chain, a: ir.Value, b: ir.Value, cos: ir.Value, sin: ir.Value
) -> tuple[ir.Value, ir.Value]:
    return (
        new.op("Sub", new.op("Mul", a, cos), new.op("Mul", b, sin)),
        new.op("Add", new.op("Mul", b, cos), new.op("Mul", a, sin)),
    )
