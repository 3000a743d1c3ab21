"""TensorScatter in older operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.chain import Chain
from omnijet.engines.lowering.constants import Constants

ROWS = 2
"""Axis of a cache [1, kv_heads, capacity, head_dim] along which rows are written."""


WIDTH = 3
"""Places of an index into a cache: batch, head and row. The row's values follow."""


class WrittenRows(ir.passes.InPlacePass):
    """Promise: a TensorScatter becomes a choice between cache and update, row by row.

    The row of the update for each row of the cache is computed once for all caches. TensorRT's
    scatter would copy the cache before it writes; a choice reads and writes it once. Slices around
    the update would have lengths that are known on the GPU only.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._plans: dict[object, tuple[ir.Value, ir.Value]] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if node.op_type == "TensorScatter"]
        for node in found:
            cache, update, write_index = node.inputs
            assert cache is not None and update is not None and write_index is not None
            assert node.attributes["axis"].as_int() == ROWS, node.name
            new = Chain(model.graph, node, self._constants)
            rows, written = self._plan(new, cache, update, write_index)
            candidates = new.op("Gather", update, rows, axis=ROWS)
            new.end(new.op("Where", written, candidates, cache))
        return ir.passes.PassResult(model, modified=bool(found))

    def _plan(
        self, new: Chain, cache: ir.Value, update: ir.Value, write_index: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """Returns for each row of the cache the nearest row of the update, i64[capacity], and
        whether it is written, bool[capacity, 1]. Caches with equal axis names share the result.
        """
        assert cache.shape is not None and update.shape is not None
        key = (write_index, str(cache.shape[ROWS]), str(update.shape[ROWS]))
        if key not in self._plans:
            zero = new.constant("zero", np.array(0, np.int64))
            one = new.constant("one", np.array(1, np.int64))
            first = new.ints("first", 0)
            length, count = (
                new.op("Squeeze", new.op("Shape", value, start=ROWS, end=ROWS + 1), first)
                for value in (cache, update)
            )
            offset = new.op("Sub", new.op("Range", zero, length, one), write_index)
            last = new.op("Sub", count, one)
            rows = new.op("Min", new.op("Max", offset, zero), last)
            written = new.op("Unsqueeze", new.op("Equal", rows, offset), new.ints("axes", -1))
            self._plans[key] = rows, written
        return self._plans[key]


class ScatteredRows(ir.passes.InPlacePass):
    """Promise: a TensorScatter becomes a ScatterND, which alone reads the cache that it writes.

    ONNX Runtime's ScatterND copies the cache only if its result lies elsewhere, and then writes the
    rows (`MayInplace(0, 0)` and the comparison of addresses in `scatter_nd.cc`). So one buffer may
    be input and output of the graph: no node reads the old rows but the one that writes, and
    whoever reads its result runs after it.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._places: dict[object, ir.Value] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if node.op_type == "TensorScatter"]
        for node in found:
            cache, update, write_index = node.inputs
            assert cache is not None and update is not None and write_index is not None
            assert node.attributes["axis"].as_int() == ROWS, node.name
            assert cache.is_graph_input() and len(cache.uses()) == 1, cache
            new = Chain(model.graph, node, self._constants)
            new.end(new.op("ScatterND", cache, self._place(new, update, write_index), update))
        return ir.passes.PassResult(model, modified=bool(found))

    def _place(self, new: Chain, update: ir.Value, write_index: ir.Value) -> ir.Value:
        """Returns where each row of an update goes, i64[1, kv_heads, rows, 3]. Caches with equal
        heads and axis names share it.
        """
        assert update.shape is not None
        heads = update.shape[1]
        assert isinstance(heads, int), update
        key = (write_index, heads, str(update.shape[ROWS]))
        if key not in self._places:
            scalars = [np.array(value, np.int64) for value in (0, 1)]
            zero, one = (new.constant(f"number.{value}", value) for value in scalars)
            length = new.op("Shape", update, start=ROWS, end=ROWS + 1)
            count = new.op("Squeeze", length, new.ints("first", 0))
            rows = new.op("Add", new.op("Range", zero, count, one), write_index)
            upright = new.op("Reshape", rows, new.ints("upright", -1, 1))
            steps = new.op("Mul", upright, new.ints("along", *(0,) * ROWS, 1))
            first = np.zeros((1, heads, 1, WIDTH), np.int64)
            first[0, :, 0, 1] = np.arange(heads)
            self._places[key] = new.op("Add", new.constant("heads", first), steps)
        return self._places[key]
