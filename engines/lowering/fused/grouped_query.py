"""Attention over caches as one operator that rotates, writes and attends.

GroupQueryAttention is given the packed queries, keys and values. It rotates queries and keys,
writes keys and values into the caches in place, and reads the rows that are filled and no others:
with CUDA in one kernel for a step of one row (`docs/attention.md`). It masks by position alone, as
the runtime's masks do: a row sees all rows up to itself.

The operator looks angles up by position in the cache, from 0. Positions of pictures and sounds are
not rows, so the rows' own angles are written into a table where their keys go. How far the caches
are filled is computed on the device, because a value that comes from there would end the replay of
a captured step. The length that the host must know is that of the caches.

Sources: `docs/contrib_ops/cuda/gqa.md` and `contrib_ops/cpu/bert/group_query_attention_helper.h` of
microsoft/onnxruntime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.chain import Chain, described
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN

MOST_ROWS = 32_768
"""The most rows of a call: the positions that the Thinker was trained on. More are an error."""
WIDTHS = 16
"""Heads have a multiple of so many features, or the operator refuses them."""
HEADS_TO_ROWS = [0, 2, 1, 3]


@dataclass(frozen=True, slots=True)
class _Layer:
    """The nodes of one layer's attention, and the values that they read.

    Attributes:
        keys, values: the writes into the caches.
        merged: puts the heads of each row side by side.
        packed: queries, keys and values side by side.
        caches: of keys and values.
    """

    attention: ir.Node
    keys: ir.Node
    values: ir.Node
    merged: ir.Node
    packed: ir.Value
    angles: tuple[ir.Value, ir.Value]  # cos, sin
    caches: tuple[ir.Value, ir.Value]
    write_index: ir.Value
    heads: int

    @property
    def dtype(self) -> ir.DataType:
        """That of the caches."""
        dtype = self.caches[0].dtype
        assert dtype is not None
        return dtype

    @property
    def cache_axes(self) -> tuple[Any, ...]:
        shape = self.caches[0].shape
        assert shape is not None
        return tuple(shape)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all layers of a graph read: i32[1], i32[1] on the host, and [capacity, head_dim / 2]."""

    last: ir.Value
    length: ir.Value
    cos: ir.Value
    sin: ir.Value


class GroupedQueries(ir.passes.InPlacePass):
    """Promise: rotary embedding, cache writes and causal attention of a layer become one operator.

    Args:
        dtypes: of the caches that are meant. CUDA has kernels for 16 bits only.
    """

    def __init__(self, constants: Constants, dtypes: Collection[ir.DataType]) -> None:
        self._constants = constants
        self._dtypes = dtypes
        self._shared: _Shared | None = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        layers = [layer for node in model.graph if (layer := _layer(node)) is not None]
        meant = [layer for layer in layers if layer.dtype in self._dtypes]
        for layer in meant:
            if self._shared is None:
                self._shared = self._share(model.graph, layer)
            self._fuse(model.graph, layer, self._shared)
        if meant:
            model.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, modified=bool(meant))

    def _share(self, graph: ir.Graph, layer: _Layer) -> _Shared:
        new = Chain(graph, graph[0], self._constants)  # before all that read it
        rows = new.op("Shape", layer.angles[0], start=1, end=2)
        before = new.op("Sub", rows, new.ints("one", 1))
        numbers = new.constant("numbers", np.arange(MOST_ROWS))
        offset = new.op("Slice", numbers, before, rows)
        last = new.op("Cast", new.op("Add", layer.write_index, offset), to=ir.DataType.INT32)
        capacity = new.op("Shape", layer.caches[0], start=2, end=3)
        length = new.op("Cast", capacity, to=ir.DataType.INT32)
        cos, sin = (self._table(new, layer, place, capacity) for place in range(2))
        return _Shared(last, length, cos, sin)

    def _table(self, new: Chain, layer: _Layer, place: int, capacity: ir.Value) -> ir.Value:
        """Returns [capacity, head_dim / 2] with the rows' cos (0) or sin (1) where keys go."""
        angles, (_, _, length, width) = layer.angles[place], layer.cache_axes
        name, half = str(angles.name), width // 2
        shape = new.op("Concat", new.ints(f"{name}.first", 1), capacity,
                       new.ints(f"{name}.half", half), axis=0)  # fmt: skip
        # not filled alike: equal operators would be merged, and neither table written in place
        filling = ir.tensor(np.array([place], layer.dtype.numpy()), name=f"{name}.filling")
        empty = new.op("ConstantOfShape", shape, value=filling)
        if angles.dtype != layer.dtype:
            angles = new.op("Cast", angles, to=layer.dtype)
        table = new.op("TensorScatter", empty, angles, layer.write_index, axis=1)
        flat = new.op("Squeeze", table, new.ints(f"{name}.axes", 0))
        return described(flat, layer.dtype, (length, half))

    def _fuse(self, graph: ir.Graph, layer: _Layer, shared: _Shared) -> None:
        packed = layer.packed
        if packed.dtype != layer.dtype:
            shape = packed.shape
            new = Chain(graph, layer.attention, self._constants)
            packed = new.op("Cast", packed, to=layer.dtype)
            packed.shape, packed.type = shape, ir.TensorType(layer.dtype)
        node = ir.node(
            "GroupQueryAttention",
            [packed, None, None, *layer.caches, shared.last, shared.length, shared.cos, shared.sin],
            {"num_heads": layer.heads, "kv_num_heads": layer.cache_axes[1], "do_rotary": 1},
            domain=DOMAIN,
            num_outputs=3,
            name=layer.attention.name,
        )
        graph.insert_before(layer.attention, node)
        made_before = layer.merged, layer.keys, layer.values
        for old, value in zip((one.outputs[0] for one in made_before), node.outputs, strict=True):
            value.name, value.shape, value.type = old.name, old.shape, old.type
            ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        for left in made_before:
            _remove(graph, left)


def _layer(node: ir.Node) -> _Layer | None:
    """Returns the layer around an Attention over caches that its graph writes, or None."""
    if node.op_type != "Attention" or len(node.inputs) != 4:
        return None
    keys, values = (_made_by(value, "TensorScatter") for value in node.inputs[1:3])
    if keys is None or values is None or keys.inputs[2] is not values.inputs[2]:
        return None
    queries, rotated = (_rotary(value) for value in (node.inputs[0], keys.inputs[1]))
    if queries is None or rotated is None or queries.inputs[1:] != rotated.inputs[1:]:
        return None
    heads = queries.inputs[0], rotated.inputs[0], values.inputs[1]
    splits = [_part(value, place) for place, value in enumerate(heads)]
    merged, shape = _merged(node), heads[0].shape if heads[0] is not None else None
    if merged is None or splits[0] is None or any(split is not splits[0] for split in splits):
        return None
    packed, (cos, sin), write_index = splits[0].inputs[0], queries.inputs[1:], keys.inputs[2]
    caches = keys.inputs[0], values.inputs[0]
    assert packed and cos and sin and write_index and caches[0] and caches[1] and shape
    if not isinstance(shape[3], int) or shape[3] % WIDTHS:
        return None
    assert isinstance(shape[1], int)
    return _Layer(node, keys, values, merged, packed, (cos, sin), (caches[0], caches[1]),
                  write_index, shape[1])  # fmt: skip


def _uncast(value: ir.Value | None) -> ir.Value | None:
    """Returns the value before casts."""
    while value is not None and (maker := value.producer()) is not None:
        if maker.op_type != "Cast":
            break
        value = maker.inputs[0]
    return value


def _made_by(value: ir.Value | None, kind: str) -> ir.Node | None:
    maker = value.producer() if value is not None else None
    return maker if maker is not None and maker.op_type == kind else None


def _rotary(value: ir.Value | None) -> ir.Node | None:
    """Returns the node that rotates whole heads by halves, or None."""
    maker = _made_by(_uncast(value), "RotaryEmbedding")
    if maker is None or len(maker.inputs) != 3:
        return None
    return None if any(one.value for one in maker.attributes.values()) else maker


def _part(value: ir.Value | None, place: int) -> ir.Node | None:
    """Returns the split whose part of this number becomes these heads, or None."""
    swap = _made_by(_uncast(value), "Transpose")
    if swap is None or list(swap.attributes["perm"].as_ints()) != HEADS_TO_ROWS:
        return None
    view = _made_by(swap.inputs[0], "Reshape")
    split = _made_by(view.inputs[0], "Split") if view is not None else None
    if split is None or len(split.outputs) != 3:
        return None
    assert view is not None
    return split if view.inputs[0] is split.outputs[place] else None


def _merged(attention: ir.Node) -> ir.Node | None:
    """Returns the node that puts the heads of each row side by side, or None."""
    node = attention
    for kind in ("Transpose", "Reshape"):
        readers = node.outputs[0].consumers()
        if len(readers) != 1 or readers[0].op_type != kind:
            return None
        (node,) = readers
    return node


def _remove(graph: ir.Graph, node: ir.Node) -> None:
    """Removes a node that nobody reads, and what made its inputs for it alone."""
    makers = list(_makers(node))
    graph.remove(node, safe=True)
    for maker in makers:
        used = any(value.uses() or value.is_graph_output() for value in maker.outputs)
        if maker.graph is graph and not used:
            _remove(graph, maker)


def _makers(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        maker = value.producer() if value is not None else None
        if maker is not None:
            yield maker
