"""Attention of the vision encoder, for ONNX Runtime on the CPU and with CUDA.

MultiHeadAttention has a flash kernel for attention without a mask, which keeps no scores in memory.
On a CPU its speed is that of a large product (`python -m tools.bench.encoders`); a loop over blocks
of 64 queries packs all keys again in each step and has two thirds of that speed. With CUDA, the
loop would launch its kernels anew for each block, and no call with a loop is captured for replay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from omnijet.engines.lowering.attention import UNSEEN
from omnijet.engines.lowering.chain import Chain, described
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN
from omnijet.engines.lowering.query_blocks import attention_in

BEFORE = {"RotaryEmbedding", "Transpose", "Reshape", "Gather", "Split"}
"""Operators between queries, keys and values of all patches and the attention."""
BEHIND = ["Transpose", "Reshape", "Reshape", "Gather", "Unsqueeze"]
"""Operators between the attention and what it saw for each patch, in order."""


class PatchAttention(ir.passes.InPlacePass):
    """Promise: each attention of the vision encoder in these dtypes becomes one MultiHeadAttention.

    Queries, keys and values are rotated as rows of patches: heads are never moved. Layers with
    windows gather rows for their windows, the others for their pictures, which stand one after the
    other. Rows may be padded behind the patches (`RowLoops`): no window and no picture has these.
    """

    def __init__(
        self, constants: Constants, dtypes: Collection[ir.DataType] = (ir.DataType.FLOAT,)
    ) -> None:
        self._constants = constants
        self._dtypes = dtypes
        self._unseen: ir.Value | None = None
        self._pictures: ir.Value | None = None
        self._order: ir.Value | None = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        found = [node for node in graph if self._is_meant(node)]
        for node in found:
            self._fuse(graph, node)
        if found:
            model.opset_imports[DOMAIN] = 1
            common.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=bool(found))

    def _is_meant(self, node: ir.Node) -> bool:
        attends = node.op_type == "Attention" or attention_in(node) is not None
        return attends and node.outputs[0].dtype in self._dtypes

    def _fuse(self, graph: ir.Graph, node: ir.Node) -> None:
        rows, behind = _rows(node), list(_behind(node))
        queries = node.inputs[0]
        assert queries is not None and queries.shape is not None
        heads, _, width = queries.shape[-3:]
        assert isinstance(heads, int) and isinstance(width, int)
        given = {str(value.name): value for value in graph.inputs}
        new = Chain(graph, behind[-1], self._constants)
        sizes = new.ints("parts", *[heads * width] * 3)
        parts = new.node("Split", [rows, sizes], 3, axis=-1)
        for part in parts:
            described(part, rows.dtype, (1, None, heads * width))
        q, k = (
            new.op("RotaryEmbedding", part, given["cos"], given["sin"], num_heads=heads)
            for part in parts[:2]
        )
        for part in (q, k):
            described(part, rows.dtype, (1, None, heads * width))
        fed = [q, k, parts[2]]
        if (dtype := queries.dtype) != rows.dtype:
            assert dtype is not None
            fed = [
                described(new.op("Cast", part, to=dtype), dtype, (1, None, heads * width))
                for part in fed
            ]
        if node.op_type == "Attention":
            seen = self._in_windows(new, given, fed, heads)
        else:
            seen = self._in_pictures(new, given, fed, heads)
        new.end(seen)
        if (inner := attention_in(node)) is not None:  # a removed loop would still read them
            for index in (1, 2):
                inner.replace_input_with(index, None)

    def _in_windows(
        self, new: Chain, given: dict[str, ir.Value], rows: Sequence[ir.Value], heads: int
    ) -> ir.Value:
        first = new.ints("first", 0)
        windows = [
            new.op("Gather", new.op("Squeeze", part, first), given["window_rows"]) for part in rows
        ]
        if self._unseen is None:
            self._unseen = _unseen(new, given, rows[0].dtype)
        seen = new.op(
            "MultiHeadAttention", *windows, None, None, self._unseen, domain=DOMAIN, num_heads=heads
        )
        assert rows[0].shape is not None
        flat = new.op("Reshape", seen, new.ints("flat", -1, rows[0].shape[2]))
        return new.op("Unsqueeze", new.op("Gather", flat, given["window_slots"]), first)

    def _in_pictures(
        self, new: Chain, given: dict[str, ir.Value], rows: Sequence[ir.Value], heads: int
    ) -> ir.Value:
        first = new.ints("first", 0)
        if self._order is None:
            windows = new.op("Reshape", given["window_rows"], new.ints("flat", -1))
            self._order = new.op("Gather", windows, given["window_slots"])
            if "picture_rows" in given:
                self._pictures = given["picture_rows"]
            else:  # of an older bundle: all patches are one picture's
                patches = new.op("Shape", given["patches"], start=0, end=1)
                own = new.op("Slice", self._order, first, patches)
                self._pictures = new.op("Unsqueeze", own, first)
        flat = (new.op("Squeeze", part, first) for part in rows)
        pictures = [new.op("Gather", part, self._pictures) for part in flat]
        seen = new.op("MultiHeadAttention", *pictures, domain=DOMAIN, num_heads=heads)
        assert rows[0].shape is not None
        joined = new.op("Reshape", seen, new.ints("joined", 1, -1, rows[0].shape[2]))
        return new.op("Gather", joined, self._order, axis=1)


def _unseen(new: Chain, given: dict[str, ir.Value], dtype: ir.DataType | None) -> ir.Value:
    """Returns what is added to scores: [windows, 1, window_patches, window_patches]."""
    mask = given["window_mask"]
    assert mask.shape is not None and isinstance(mask.shape[3], int) and dtype is not None
    kind = dtype.numpy()
    least = np.maximum(UNSEEN, np.float32(np.finfo(kind).min)).astype(kind)
    zero = new.constant("seen", np.zeros((), kind))
    added = new.op("Where", mask, zero, new.constant("unseen", least))
    return new.op("Expand", added, new.ints("square", 1, 1, mask.shape[3], 1))


def _rows(node: ir.Node) -> ir.Value:
    """Returns queries, keys and values of all patches, before they are split."""
    inner = attention_in(node)
    values = [node.inputs[0], *(node if inner is None else inner).inputs[1:3]]
    found: set[ir.Value] = set()
    for value in values:
        assert value is not None
        whole = False  # before the first Split, queries, keys and values are one
        while (maker := value.producer()) is not None and (
            maker.op_type in BEFORE or (maker.op_type == "Cast" and not whole)
        ):
            whole |= maker.op_type == "Split"
            value = maker.inputs[0]
            assert value is not None
        found.add(value)
    assert len(found) == 1, (node.name, found)
    return found.pop()


def _behind(node: ir.Node) -> Iterator[ir.Node]:
    """Yields the nodes between the attention and what each patch saw."""
    shape = node.outputs[0].shape
    joined = ["Reshape"] if shape is not None and len(shape) == 5 else []
    for kind in [*joined, *BEHIND]:
        (node,) = node.outputs[0].consumers()
        assert node.op_type == kind, (node.name, kind)
        yield node
