"""Long filters over many channels as shorter ones, with nine products in place of sixteen.

A convolution of a signal's even and odd samples with a filter's even and odd taps is four
convolutions of half the length. Three are enough:

    even = h0 * (x0 - x1) + m        m = (h0 + h1) * x1
    odd  = h1 * (x2 - x1) + m        x2: the even samples, one later

Done twice, filters have a quarter of the taps and the signals a quarter of the samples. Only
additions are added, so f32 stays as exact as it was. Source: Winograd, Arithmetic Complexity of
Computations (1980), F(2, r); Parker and Parhi, fast FIR algorithms (1997).

With a dilation d, d samples in a row take the place of one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.fused.blocked_graph import BlockedGraph
from omnijet.engines.lowering.fused.blocks import Signal, Sizes
from omnijet.runtime.bundle.contract import Array

PHASES = 4
LEAST_TAPS = 7
LEAST_CHANNELS = 192
"""Where the additions cost less than they save. The nine convolutions alone take 0.65 to 0.72 of
the time of one from 192 channels and 7 taps on, 0.73 to 0.78 with 96 channels, and 0.8 to 1 with
3 taps (ONNX Runtime 1.32, one thread of an AMD Zen 4)."""

Parts = tuple[ir.Value, ir.Value, ir.Value]


def pays(weight: Array) -> bool:
    """Returns whether a convolution with this weight f32[out, in, 1, taps] is faster so."""
    outputs, inputs, _, taps = weight.shape
    return bool(taps >= LEAST_TAPS and min(outputs, inputs) >= LEAST_CHANNELS)


class Parallel:
    """Writes convolutions in this form."""

    def __init__(self, graph: BlockedGraph) -> None:
        self._new = graph

    def __call__(self, x: Signal, weight: Array, bias: Array | None, dilation: int) -> Signal:
        """Convolves all channels with zeros around the signal; see `BlockedGraph.convolution`."""
        new = self._new
        taps = -(-weight.shape[3] // PHASES)
        full = np.zeros((*weight.shape[:3], PHASES * taps), np.float32)
        full[..., : weight.shape[3]] = weight
        h = [full[..., phase::PHASES] for phase in range(PHASES)]
        side = dilation * (weight.shape[3] - 1) // 2
        rows = new.rows(x)
        x0, x1, x2, x3, y0, y1, y2 = self._phases(rows, x, side, dilation, taps)

        def less(a: ir.Value, b: ir.Value) -> ir.Value:
            return new.op("Sub", a, b)

        u, v, w = less(x2, x3), less(x2, x1), less(y0, x3)
        low = less(less(x0, x1), u), u, less(less(y0, y1), u)
        middle = less(x1, x3), x3, less(y1, x3)
        high = less(v, w), w, less(less(y2, y1), w)

        def halves(parts: Parts, even: Array, odd: Array, *sums: Signal) -> list[Signal]:
            first, both, last = (new.image(part, x.channels) for part in parts)
            own = bias if not sums else None
            shared = new.convolution(both, even + odd, own, dilation, same=False)
            added = [new.sum(shared, one) for one in sums] or [shared, shared]
            return [
                new.convolution(part, filters, None, dilation, more, same=False)
                for part, filters, more in zip((first, last), (even, odd), added, strict=True)
            ]

        base = halves(middle, h[0] + h[1], h[2] + h[3])
        z0, z2 = halves(low, h[0], h[2], *base)
        z1, z3 = halves(high, h[1], h[3], *base)
        return self._joined((z0, z1, z2, z3), x, dilation)

    def _phases(
        self, rows: ir.Value, x: Signal, side: int, dilation: int, taps: int
    ) -> list[ir.Value]:
        """Returns every fourth group of samples, from the first to the fourth on, and from the
        fifth to the seventh on, each [blocks, groups, 1, group].

        The zeros behind the signal fill the last group and serve the last taps.
        """
        new, step, length = self._new, PHASES * dilation, x.length
        assert length is not None

        def border() -> Sizes:
            groups = new.op("Div", new.op("Add", length, new.ints(step - 1)), new.ints(step))
            whole = new.op("Mul", new.op("Add", groups, new.ints(taps)), new.ints(step))
            right = new.op("Sub", new.op("Sub", whole, length), new.ints(side))
            return (new.op("Concat", new.ints(0, side, 0, 0), right, new.ints(0), axis=0),)

        (ends,) = new.sizes((length, step, taps, side), border)
        padded = new.op("Pad", rows, ends)
        shape = new.ints(new.blocks_of(x), -1, PHASES, dilation * new.block)
        split = new.op("Reshape", padded, shape)
        axes = new.ints(1, 2)
        now = [
            new.op("Slice", split, new.ints(0, one), new.ints(-1, one + 1), axes)
            for one in range(PHASES)
        ]
        later = [
            new.op("Slice", split, new.ints(1, one), new.ints(2**31, one + 1), axes)
            for one in range(PHASES - 1)
        ]
        return [*now, *later]

    def _joined(self, phases: tuple[Signal, ...], x: Signal, dilation: int) -> Signal:
        """Joins the results of the four phases, as long as the signal."""
        new, channels = self._new, phases[0].channels
        shape = new.ints(new.blocks_of(phases[0]), -1, 1, dilation * new.block)
        parts = [new.op("Reshape", phase.value, shape) for phase in phases]
        joined = new.op("Concat", *parts, axis=2)
        whole = new.op("Reshape", joined, new.ints(new.blocks_of(phases[0]), -1, new.block))
        cut = new.op("Slice", whole, new.ints(0), x.length, new.ints(1))
        return replace(new.image(cut, channels), length=x.length)
