"""Convolutions of few channels, cut into parts in time."""

from __future__ import annotations

from dataclasses import replace

from omnijet.engines.lowering.fused import blocks
from omnijet.engines.lowering.fused.blocked_graph import BlockedGraph
from omnijet.engines.lowering.fused.blocks import Signal, Sizes
from omnijet.runtime.bundle.contract import Array


def in_parts(
    new: BlockedGraph, x: Signal, weight: Array, bias: Array | None, dilation: int, parts: int
) -> Signal:
    """Convolves all channels of equal parts in time, so that each can have a thread.

    ONNX Runtime gives a thread whole batches or 64 output channels, and one would do all of a
    convolution with fewer. A part sees its neighbours' samples or zeros at the ends.
    """
    side = dilation * (weight.shape[3] - 1) // 2
    length, axis = x.length, new.ints(1)
    assert length is not None

    def limits() -> Sizes:
        own = new.op("Div", new.op("Add", length, new.ints(parts - 1)), new.ints(parts))
        missing = new.op("Sub", new.op("Mul", own, new.ints(parts)), length)
        right = new.op("Add", missing, new.ints(side))
        ends = new.op("Concat", new.ints(0, side, 0, 0), right, new.ints(0), axis=0)
        seen = new.op("Add", own, new.ints(2 * side))
        starts = [new.op("Mul", own, new.ints(part)) for part in range(parts)]
        return ends, *starts, *(new.op("Add", start, seen) for start in starts)

    ends, *limit = new.sizes((length, parts, side), limits)
    padded = new.op("Pad", new.rows(x), ends)
    cut = [
        new.op("Slice", padded, start, stop, axis)
        for start, stop in zip(limit[:parts], limit[parts:], strict=True)
    ]
    full, channels = blocks.padded(x.channels, new.block), len(weight)
    joined = new.op("Concat", *cut, axis=0)
    wide = Signal(new.op("Reshape", joined, new.ints(parts, full, 1, -1)), x.channels)
    made = new.convolution(wide, weight, bias, dilation, same=False)
    split = new.op("Reshape", made.value, new.ints(parts, new.blocks_of(made), -1, new.block))
    ordered = new.op("Transpose", split, perm=[1, 0, 2, 3])
    whole = new.op("Reshape", ordered, new.ints(new.blocks_of(made), -1, new.block))
    cut_back = new.op("Slice", whole, new.ints(0), length, axis)
    return replace(new.image(cut_back, channels), length=length)
