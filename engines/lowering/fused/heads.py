"""The heads of queries and keys are rotated by one operator."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from omnijet.engines.lowering.chain import Chain, described
from omnijet.engines.lowering.constants import Constants
from omnijet.export.graphfile.constants import const_ints


class JoinedRotary(ir.passes.InPlacePass):
    """Promise: queries and keys that lie side by side in one product are rotated together."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [one for node in model.graph if (one := _joined(node)) is not None]
        for one in found:
            self._join(model.graph, one)
        return ir.passes.PassResult(model, modified=bool(found))

    def _join(self, graph: ir.Graph, one: _Heads) -> None:
        new = Chain(graph, one.split, self._constants)
        packed = one.split.inputs[0]
        sizes = const_ints(one.split.inputs[1])
        assert packed is not None and sizes is not None and one.rotary.shape is not None
        (batch, _, rows, width), dtype = one.rotary.shape, one.rotary.dtype
        assert isinstance(width, int)
        ends = new.ints("ends", sizes[0] + sizes[1], sizes[2])
        both, values = new.node("Split", (packed, ends), 2, axis=-1)
        described(values, dtype, _shape(one.values))
        heads = one.queries + one.keys
        split = new.op("Reshape", both, new.ints("heads", 0, -1, heads, width))
        turned = new.op("Transpose", split, perm=[0, 2, 1, 3])
        described(turned, dtype, (batch, heads, rows, width))
        attributes = {name: item.value for name, item in one.first.attributes.items()}
        rotated = new.op("RotaryEmbedding", turned, *one.first.inputs[1:], **attributes)
        described(rotated, dtype, (batch, heads, rows, width))
        counts = new.ints("counts", one.queries, one.keys)
        parts = new.node("Split", (rotated, counts), 2, axis=1)
        for part, node in zip(parts, (one.first, one.second), strict=True):
            old = node.outputs[0]
            described(part, old.dtype, _shape(old))
            ir.convenience.replace_all_uses_with(old, part)
        ir.convenience.replace_all_uses_with(one.values, values)
        for node in one.nodes:
            graph.remove(node, safe=True)


@dataclass(frozen=True, slots=True)
class _Heads:
    """Queries, keys and values of one product.

    Attributes:
        nodes: those that go, readers before what they read.
    """

    split: ir.Node
    first: ir.Node
    second: ir.Node
    queries: int
    keys: int
    nodes: tuple[ir.Node, ...]

    @property
    def rotary(self) -> ir.Value:
        return self.first.outputs[0]

    @property
    def values(self) -> ir.Value:
        return self.split.outputs[2]


def _joined(split: ir.Node) -> _Heads | None:
    """Returns what becomes of a split in three whose first two parts are rotated alike, or None."""
    if split.op_type != "Split" or len(split.outputs) != 3 or const_ints(split.inputs[1]) is None:
        return None
    chains = [_rotated(value) for value in split.outputs[:2]]
    if None in chains:
        return None
    (q_nodes, queries), (k_nodes, keys) = (one for one in chains if one is not None)
    first, second = q_nodes[0], k_nodes[0]
    same = (
        first.inputs[1:] == second.inputs[1:]
        and first.attributes.keys() == second.attributes.keys()
    )
    alike = all(
        first.attributes[name].value == second.attributes[name].value for name in first.attributes
    )
    if not (same and alike):
        return None
    return _Heads(split, first, second, queries, keys, (*q_nodes, *k_nodes, split))


def _rotated(value: ir.Value) -> tuple[tuple[ir.Node, ...], int] | None:
    """Returns the rotation of a part, with the nodes before it, and its heads, or None."""
    nodes = []
    for kind in ("Reshape", "Transpose", "RotaryEmbedding"):
        readers = value.consumers()
        if len(readers) != 1 or readers[0].op_type != kind:
            return None
        nodes.append(readers[0])
        value = readers[0].outputs[0]
    shape = const_ints(nodes[0].inputs[1])
    if (
        shape is None
        or len(shape) != 4
        or list(nodes[1].attributes["perm"].as_ints()) != [0, 2, 1, 3]
    ):
        return None
    return tuple(nodes[::-1]), shape[2]


def _shape(value: ir.Value) -> ir.Shape:
    assert value.shape is not None, value
    return value.shape
