"""Layers of the vision encoder over a few hundred rows at a time.

All rows of a large picture at once (10,764 patches in 1920 x 1080) make values of 55 to 295 MB,
which pass through memory between every two operators. A few hundred rows stay in the caches, and a
product of them is as fast as one of thousands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.chain import described
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.fused.row_segments import Segment, is_constant, segments_of

MOST_ROWS = 512
"""The most rows of one step of a loop.

A product of 1,280 x 3,420 and back, GFLOP/s of one thread at 512 and at 2,048 rows (ONNX Runtime
1.32, AMD Zen 4 with AVX-512 VNNI): f32 107 and 100; int8 375 to 404 and 335 to 343.
"""
ROWS = {"patches": 0, "cos": 1, "sin": 1, "window_slots": 0}
"""Inputs of the graph with a row for each patch, and the axis of these rows."""


class RowLoops(ir.passes.InPlacePass):
    """Promise: what a layer computes row by row is a Scan over blocks of at most `most` rows, and
    products with a bias are one operator there.

    Rows are padded once, at the graph's inputs, so that all blocks have one size: by fewer rows
    than there are blocks. It runs behind `PatchAttention`, which reads no padded row as a key.
    """

    def __init__(self, constants: Constants, most: int = MOST_ROWS) -> None:
        self._constants = constants
        self._most = most

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        self._graph = graph
        patches, blocks = self._padded()
        graph.sort()
        segments, rows = segments_of(graph)
        self._cut(rows, patches)
        for index, segment in enumerate(segments):
            self._flatten(segment, rows)
            self._loop(f"rows.{index}", segment, rows, blocks)
        graph.sort()
        return ir.passes.PassResult(model, modified=True)

    def _padded(self) -> tuple[ir.Value, ir.Value]:
        """Pads the inputs to whole blocks.

        Returns:
            The number of patches; and the shape in which a Scan reads rows: blocks, rows of a
            block, width.
        """
        first, given = self._graph[0], {str(value.name): value for value in self._graph.inputs}

        def op(kind: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
            return self._insert(first, kind, *inputs, **attributes)

        patches = op("Shape", given["patches"], start=0, end=1)
        one, most = self._ints(1), self._ints(self._most)
        count = op("Div", op("Add", patches, self._ints(self._most - 1)), most)
        size = op("Div", op("Sub", op("Add", patches, count), one), count)
        padding = op("Sub", op("Mul", count, size), patches)
        for name, axis in ROWS.items():
            value = given[name]
            assert value.shape is not None
            readers = [use for use in value.uses() if use.node.op_type != "Shape"]
            behind = len(value.shape) - axis - 1
            parts = [self._ints(*[0] * (2 * axis + behind + 1)), padding]
            parts += [self._ints(*[0] * behind)] if behind else []
            longer = op("Pad", value, op("Concat", *parts, axis=0))
            longer.name = f"{name}.padded"
            shape = [None if place == axis else one for place, one in enumerate(value.shape)]
            described(longer, value.dtype, shape)
            for node, index in readers:
                node.replace_input_with(index, longer)
        return patches, op("Concat", count, size, self._ints(-1), axis=0)

    def _cut(self, rows: Mapping[ir.Value, int], patches: ir.Value) -> None:
        """Cuts padded rows off where rows are read in another shape."""
        found = [
            (value, use) for value in rows for use in value.uses() if use.node.op_type == "Reshape"
        ]
        assert found, "the merger reads cells of patches"
        for value, (node, index) in found:
            cut = self._insert(node, "Slice", value, self._ints(0), patches, self._ints(1))
            node.replace_input_with(index, cut)

    def _loop(
        self, name: str, segment: Segment, rows: dict[ir.Value, int], blocks: ir.Value
    ) -> None:
        """Moves a segment into the body of a Scan, whose results are rows for the next segments."""
        own, first = set(segment.nodes), segment.nodes[0]
        reads, makes = segment.reads(rows), segment.makes()
        scanned, inner = [], []
        for value in reads:
            assert value.shape is not None
            block = ir.Value(name=f"{name}.{value.name}.block")
            inner.append(described(block, value.dtype, (None, value.shape[-1])))
            scanned.append(self._insert(first, "Reshape", value, blocks))
            for node, index in list(value.uses()):
                if node in own:
                    node.replace_input_with(index, block)
        readers = [[use for use in value.uses() if use.node not in own] for value in makes]
        self._graph.remove(segment.nodes)
        body = ir.Graph(inner, makes, nodes=segment.nodes, name=f"{name}.body")
        scan = ir.node(
            "Scan", scanned, {"body": body, "num_scan_inputs": len(inner)},
            num_outputs=len(makes), name=name,
        )  # fmt: skip
        anchor = readers[0][0].node
        self._graph.insert_before(anchor, scan)
        for value, result, uses in zip(makes, scan.outputs, readers, strict=True):
            assert value.shape is not None
            width = value.shape[-1]
            assert isinstance(width, int), value
            result.name = f"{value.name}.blocks"
            joined = self._insert(anchor, "Reshape", result, self._ints(1, -1, width))
            rows[described(joined, value.dtype, (1, None, width))] = rows[value]
            for node, index in uses:
                node.replace_input_with(index, joined)

    def _flatten(self, segment: Segment, rows: dict[ir.Value, int]) -> None:
        """Prepares nodes for rows without a batch: [rows, width] instead of [1, rows, width].

        Only so is a product with a bias one operator, Gemm. A rotation needs the batch.
        """
        first = self._ints(0)
        flat: list[ir.Node] = []
        merged: set[ir.Node] = set()
        for node in segment.nodes:
            if node in merged:
                continue
            if node.op_type == "RotaryEmbedding":
                lifted = [ir.node("Unsqueeze", [value, first]) for value in node.inputs]
                rotated = ir.node(
                    "RotaryEmbedding", [one.outputs[0] for one in lifted], node.attributes
                )
                new = [*lifted, rotated, ir.node("Squeeze", [rotated.outputs[0], first])]
            elif (add := _bias_of(node)) is not None:
                bias = next(value for value in add.inputs if value is not node.outputs[0])
                new = [ir.node("Gemm", [*node.inputs, bias])]
                merged.add(add)
                node = add
            else:
                flat.append(node)
                continue
            old, result = node.outputs[0], new[-1].outputs[0]
            result.shape, result.type = old.shape, old.type
            rows[result] = rows[old]
            for index, one in enumerate(new):
                one.name = f"{node.name}.flat.{index}"
            self._graph.insert_before(node, new)
            ir.convenience.replace_all_uses_with(old, result)
            flat += new
        gone = [node for node in segment.nodes if node not in set(flat)]
        self._graph.remove(list(reversed(gone)), safe=True)
        segment.nodes = flat
        for value in (value for node in flat for value in node.outputs):
            if value.shape is not None:
                value.shape = ir.Shape([None, value.shape[-1]])

    def _ints(self, *values: int) -> ir.Value:
        """Returns a constant i64[len(values)]."""
        name = ".".join(map(str, ("rows.ints", *values)))
        if (value := self._graph.initializers.get(name)) is not None:
            return value
        return self._constants.add(name, np.array(values, np.int64))

    def _insert(self, before: ir.Node, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Inserts a node and returns its output, named after what it reads first."""
        node = ir.node(kind, inputs, attributes)
        self._graph.insert_before(before, node)
        return node.outputs[0]


def _bias_of(product: ir.Node) -> ir.Node | None:
    """Returns the node that adds a bias to a product with a weight, or None."""
    weight = product.inputs[1] if product.op_type == "MatMul" else None
    readers = product.outputs[0].consumers()
    if weight is None or not is_constant(weight) or len(readers) != 1:
        return None
    (add,) = readers
    vectors = [value for value in add.inputs if value is not None and value.is_initializer()]
    return add if add.op_type == "Add" and vectors and len(vectors[0].shape or ()) == 1 else None
