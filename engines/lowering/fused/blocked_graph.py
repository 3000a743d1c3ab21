"""Writes nodes that work on blocked signals, and converts at the border to other nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.fused import blocks
from omnijet.engines.lowering.fused.blocks import Signal, Sizes
from omnijet.runtime.bundle.contract import Array


class BlockedGraph:
    """The new nodes of a graph.

    Attributes:
        before: the node in front of which new ones are put.
    """

    def __init__(self, graph: ir.Graph, constants: Constants, block: int) -> None:
        self.block = block
        self.before: ir.Node | None = None
        self._graph = graph
        self._constants = constants
        self._known: dict[ir.Value, Signal] = {}
        self._replaced: dict[ir.Value, None] = {}
        self._count = 0
        self._ints: dict[tuple[int, ...], ir.Value] = {}
        self._sizes: dict[object, Sizes] = {}

    def op(self, kind: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Adds a node and returns its first output."""
        return self.node(kind, inputs, 1, **attributes)[0]

    def node(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[ir.Value]:
        """Adds a node and returns its outputs."""
        assert self.before is not None
        name = f"blocked.{self._count}"
        self._count += 1
        node = ir.node(kind, inputs, attributes, domain=domain, num_outputs=outputs, name=name)
        for index, value in enumerate(node.outputs):
            value.name = f"{name}.value.{index}"
        self._graph.insert_before(self.before, node)
        return node.outputs

    def constant(self, values: Array) -> ir.Value:
        """Adds a constant."""
        name = f"blocked.constant.{self._count}"
        self._count += 1
        return self._constants.add(name, values)

    def ints(self, *values: int) -> ir.Value:
        """Adds a constant i64[len(values)], once for all nodes."""
        if values not in self._ints:
            self._ints[values] = self.constant(np.array(values, np.int64))
        return self._ints[values]

    def sizes(self, key: object, make: Callable[[], Sizes]) -> Sizes:
        """Returns sizes that follow from the key, computed once for all nodes that need them."""
        if key not in self._sizes:
            self._sizes[key] = make()
        return self._sizes[key]

    def known(self, value: ir.Value | None) -> Signal | None:
        """Returns the blocked form of a canonical value, or None."""
        return None if value is None else self._known.get(value)

    def keep(self, value: ir.Value, signal: Signal) -> None:
        """Replaces a canonical value by its blocked form."""
        self._known[value] = signal
        self._replaced[value] = None

    def blocked(self, value: ir.Value, channels: int) -> Signal | None:
        """Returns a canonical value [1, channels, 1, samples] as a signal, or None."""
        found = self._known.get(value)
        if found is None and channels % 4 == 0:
            made = self.node("ReorderInput", [value], 1, blocks.DOMAIN, channels_last=0)[0]
            found = Signal(made, channels, self.op("Shape", made, start=3, end=4))
            self._known[value] = found
        return found

    def restore(self) -> None:
        """Gives nodes that stay canonical what they read of values that are blocked now."""
        for value in self._replaced:
            users = [
                (node, index)
                for node, index in value.uses()
                if not any(made in self._replaced for made in node.outputs)
            ]
            signal = self._known[value]
            maker = signal.value.producer()
            if not users or maker is None:
                continue
            plain = ir.node(
                "ReorderOutput", [signal.value], {"channels": signal.channels, "channels_last": 0},
                domain=blocks.DOMAIN, name=f"{maker.name}.plain",
            )  # fmt: skip
            plain.outputs[0].name = f"{plain.name}.value"
            self._graph.insert_after(maker, plain)
            for node, index in users:
                node.replace_input_with(index, plain.outputs[0])

    def guard(self, result: ir.Value) -> None:
        """Makes a result infinite on a machine whose blocks have another size.

        Weights are placed for one size. With another, the graph would compute noise, which nobody
        could tell from a voice by its numbers; the runtime refuses what is not finite. A ramp that
        is reordered where the graph runs tells the size.
        """
        given, channels = self._graph.inputs[0], 32
        ramp = np.arange(2 * channels, dtype=np.float32).reshape(1, channels, 1, 2)
        placed = ramp.reshape(1, channels // self.block, self.block, 1, 2).transpose(0, 1, 3, 4, 2)
        maker, dtype, shape, name = result.producer(), result.type, result.shape, result.name
        assert maker is not None
        self.before = next(iter(self._graph))
        # it hangs on an input, so that nobody folds it on the machine where the graph is made
        assert given.shape is not None
        axes = range(len(given.shape))
        first, end = self.ints(*[0 for _ in axes]), self.ints(*[1 for _ in axes])
        one = self.op("Slice", given, first, end, self.ints(*axes))
        none = self.op("Mul", one, self.constant(np.zeros(1, np.float32)))
        sent = self.op("Add", none, self.constant(ramp))
        got = self.node("ReorderInput", [sent], 1, blocks.DOMAIN, channels_last=0)[0]
        differs = self.op(
            "Sub", got, self.constant(np.ascontiguousarray(placed).reshape(ramp.shape))
        )
        fault = self.op("ReduceMean", self.op("Mul", differs, differs), keepdims=0)
        most = self.constant(np.array(3e38, np.float32))
        fault = self.op("Mul", self.op("Mul", fault, most), most)  # nothing, or infinity
        node = ir.node("Add", [result, fault], name="blocked.guarded")
        self._graph.insert_after(maker, node)
        result.name = f"{name}.unguarded"
        new = node.outputs[0]
        new.name, new.type, new.shape = name, dtype, shape
        self._graph.outputs[self._graph.outputs.index(result)] = new

    def rows(self, signal: Signal) -> ir.Value:
        """Returns the signal as [blocks, samples, block]."""
        return self.op("Reshape", signal.value, self.ints(self.blocks_of(signal), -1, self.block))

    def image(self, rows: ir.Value, channels: int) -> Signal:
        """Returns rows [blocks, ...] as a signal that a convolution reads."""
        full = blocks.padded(channels, self.block)
        return Signal(self.op("Reshape", rows, self.ints(1, full, 1, -1)), channels)

    def sum(self, first: Signal, second: Signal) -> Signal:
        return replace(first, value=self.op("Add", first.value, second.value))

    def square(self, value: ir.Value, like: Signal) -> Signal:
        return replace(like, value=self.op("Mul", value, value))

    def convolution(
        self,
        x: Signal,
        weight: Array,
        bias: Array | None,
        dilation: int,
        more: Signal | None = None,
        same: bool = True,
    ) -> Signal:
        """Convolves all channels, and adds `more`.

        Args:
            weight: f32[out, in, 1, taps].
            same: whether zeros around the signal keep its length.
        """
        taps = weight.shape[3]
        side = dilation * (taps - 1) // 2 if same else 0
        inputs: list[ir.Value | None] = [
            x.value, self.constant(blocks.dense(weight, self.block)),
            None if bias is None else self.constant(blocks.filled(bias, self.block)),
        ]  # fmt: skip
        made = self._convolved(inputs, len(weight), taps, 1, side, dilation, more)
        return replace(made, length=x.length if same else None)

    def filtered(self, x: Signal, taps: Array, more: Signal | None = None) -> Signal:
        """Filters each channel with its row of f32[channels, taps] and adds `more`.

        The result is shorter by taps - 1 samples.
        """
        weight = self.constant(blocks.depthwise(taps, self.block))
        group = blocks.padded(x.channels, self.block)
        return self._convolved(
            [x.value, weight, None], x.channels, taps.shape[1], group, 0, 1, more
        )

    def doubled(self, x: Signal, up: Array, scale: Array) -> tuple[Signal, Signal]:
        """Returns the even and the odd samples at twice the rate, scaled by channel.

        Both are extended by `side` copies of the first even sample and of the last odd one.
        """
        side = up.shape[1] // 2
        rows = self.op("Pad", self.rows(x), self.ints(0, side, 0, 0, side, 0), mode="edge")
        wide = self.image(rows, x.channels)
        phases = [self.rows(self.filtered(wide, scale[:, None] * taps[None])) for taps in up]
        first = self.op("Slice", phases[0], self.ints(0), self.ints(1), self.ints(1))
        last = self.op("Slice", phases[1], self.ints(-1), self.ints(2**31), self.ints(1))
        even, odd = (
            self.image(self.op("Concat", *[first] * side, one, *[last] * side, axis=1), x.channels)
            for one in phases
        )
        return even, odd

    def _convolved(
        self,
        inputs: list[ir.Value | None],
        channels: int,
        taps: int,
        group: int,
        side: int,
        dilation: int,
        more: Signal | None,
    ) -> Signal:
        if more is not None:
            inputs.append(more.value)
        while inputs[-1] is None:
            inputs.pop()
        made = self.node(
            "Conv", inputs, 1, blocks.DOMAIN, kernel_shape=[1, taps], strides=[1, 1],
            pads=[0, side, 0, side], dilations=[1, dilation], group=group,
        )  # fmt: skip
        return Signal(made[0], channels)

    def blocks_of(self, signal: Signal) -> int:
        return blocks.padded(signal.channels, self.block) // self.block
