"""The vocoder in the blocked layout of ONNX Runtime's convolutions (`blocks`).

Between two convolutions of many channels the canonical graph filters all channels with one filter,
scales them and takes sines. Here each channel has a filter of its own, which holds the scales, so
that there are fewer passes over memory, and values never leave the layout. At the published sizes
96 frames take 1.8 s of a processor instead of 2.5 (`python -m tools.bench.vocoder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from omnijet.engines.lowering.chain import producer
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.fused import blocks
from omnijet.engines.lowering.fused.blocked_graph import BlockedGraph
from omnijet.engines.lowering.fused.parallel_filters import Parallel, pays
from omnijet.engines.lowering.fused.parts import in_parts
from omnijet.runtime.bundle.contract import Array

FEW, PARTS = 96, 4
"""With so few output channels a convolution is cut into parts: ONNX Runtime gives a thread 64 of
them, so that one would do all of a convolution with 48. It costs 2 % of processor time."""

GRAIN = 4
"""ONNX Runtime reorders channels in fours."""


class BlockedVocoder(ir.passes.InPlacePass):
    """Promise: convolutions and the activations between them work in blocked signals.

    Args:
        block: channels of a block (`blocks.block_size`); 0 changes nothing.
    """

    def __init__(self, constants: Constants, block: int) -> None:
        self._constants = constants
        self._block = block

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not self._block:
            return ir.passes.PassResult(model, modified=False)
        new = BlockedGraph(model.graph, self._constants, self._block)
        self._parallel = Parallel(new)
        for node in list(model.graph):
            new.before = node
            self._visit(new, node)
        new.restore()
        new.guard(model.graph.outputs[0])
        RemoveUnusedNodesPass()(model)
        model.opset_imports[blocks.DOMAIN] = blocks.VERSION
        model.opset_imports.setdefault("com.microsoft", 1)
        return ir.passes.PassResult(model, modified=True)

    def _visit(self, new: BlockedGraph, node: ir.Node) -> None:
        match node.op_type:
            case "Sin":
                self._activation(new, node)
            case "Conv":
                self._convolution(new, node)
            case "Add" | "Div":
                self._elementwise(new, node)

    def _elementwise(self, new: BlockedGraph, node: ir.Node) -> None:
        first, second = node.inputs
        x, y = new.known(first), new.known(second)
        if x is not None and second is not None and (y is not None or second.shape == ()):
            other = second if y is None else y.value
            made = new.op(node.op_type, x.value, other)
            new.keep(node.outputs[0], replace(x, value=made))

    def _convolution(self, new: BlockedGraph, node: ir.Node) -> None:
        x = new.known(node.inputs[0])
        weight = _values(node.inputs[1])
        if x is None or weight is None or weight.ndim != 4 or len(weight) % GRAIN:
            return
        bias = _values(node.inputs[2]) if len(node.inputs) > 2 else None
        dilation = (
            node.attributes["dilations"].as_ints()[1] if "dilations" in node.attributes else 1
        )
        if pays(weight):
            made = self._parallel(x, weight, bias, dilation)
        elif len(weight) <= FEW:
            made = in_parts(new, x, weight, bias, dilation, PARTS)
        else:
            made = new.convolution(x, weight, bias, dilation)
        new.keep(node.outputs[0], made)

    def _activation(self, new: BlockedGraph, sine: ir.Node) -> None:
        """Writes x + sin^2(alpha x) / beta at twice the sample rate (`ops.upsampled_snake`)."""
        found = _snake(sine)
        if found is None:
            return
        x = new.blocked(found.x, len(found.alpha))
        if x is None:
            return
        even, odd = new.doubled(x, found.up, found.alpha)
        total = None
        for phase, signal in enumerate((even, odd)):
            squares = new.square(new.op("Sin", signal.value), signal)
            for part, scale in ((signal, 1 / found.alpha), (squares, found.reciprocal_beta)):
                taps = found.down[0, phase][None] * scale[:, None]
                total = new.filtered(part, taps, total)
        assert total is not None
        new.keep(found.result, replace(total, length=x.length))


class Snake:
    """What the nodes of one activation read and make."""

    def __init__(self, x: ir.Value, result: ir.Value, parameters: Mapping[str, Array]) -> None:
        self.x, self.result = x, result
        self.alpha = parameters["alpha"].reshape(-1)
        self.reciprocal_beta = parameters["reciprocal_beta"].reshape(-1)
        self.up = parameters["up"][:, 0]  # [2, taps]
        self.down = parameters["down"]  # [1, 2, taps]


def _snake(sine: ir.Node) -> Snake | None:
    """Reads the nodes around a sine as `ops.upsampled_snake` writes them, or returns None."""
    try:
        scaled = _made(sine, 0, "Mul")
        doubled = _made(scaled, 0, "Conv")
        rows = _made(_made(doubled, 0, "Pad"), 0, "Reshape")
        square = _user(sine, "Mul")
        share = _user(square, "Mul")
        bent = _user(share, "Add")
        joined = _user(bent, "Concat")
        filtered = _user(joined, "Conv")
        shaped = _user(filtered, "Reshape")
        parameters = {
            "alpha": _values(scaled.inputs[1]),
            "reciprocal_beta": _values(share.inputs[1]),
            "up": _values(doubled.inputs[1]),
            "down": _values(filtered.inputs[1]),
        }
    except LookupError:
        return None
    x = rows.inputs[0]
    known = {name: value for name, value in parameters.items() if value is not None}
    if x is None or len(known) < len(parameters):
        return None
    return Snake(x, shaped.outputs[0], known)


def _made(node: ir.Node, index: int, kind: str) -> ir.Node:
    maker = producer(node, index)
    if maker is None or maker.op_type != kind:
        raise LookupError(kind)
    return maker


def _user(node: ir.Node, kind: str) -> ir.Node:
    users = {user for user, _ in node.outputs[0].uses() if user.op_type == kind}
    if len(users) != 1:
        raise LookupError(kind)
    return users.pop()


def _values(value: ir.Value | None) -> Array | None:
    if value is None or value.const_value is None:
        return None
    array: Array = value.const_value.numpy()
    return array
