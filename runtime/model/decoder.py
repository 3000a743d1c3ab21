"""A decoder with its KV cache: prefill in chunks, then one row or a few per decode step.

It serves the Thinker and the Talker. The cache starts at a small capacity, because attention may
read its full length whether filled or not, and grows as its backend wants it to
(`Graph.growth`). Growing copies the filled rows once.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from omnijet.runtime.backends.protocol import Bound, Graph, State
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import DecoderDims
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.finite import require_finite
from omnijet.runtime.model.rope import MRope

SMALLEST_BUCKET = 256
SHARE = 32  # a long cache grows by such a share of its rows: copying it costs more, too
PREFILL_ROWS = 512  # bounds the score matrix [heads, rows, capacity] of one call
PICKED_ROWS = 16
"""The most rows of a call whose logits are computed: a token and the guesses that follow it."""


Ending = Literal["stop", "limit", "context"]
"""How a sequence ended: by an end token, at the limit that was set, or with a full cache."""


class Rows(NamedTuple):
    """The outputs of one call; the next call overwrites the arrays."""

    logits: Array  # f32[vocab] of the last row, or f32[rows, vocab] of a step of several
    hidden: Array | None  # f32[rows, hidden]


@dataclass(slots=True)
class Step:
    """A call of few rows, bound to the present capacity.

    Attributes:
        seen: how many entries of the first row of its mask are true.
        runs: how often it ran; the first runs prepare it.
    """

    bound: Bound
    seen: int = 0
    runs: int = 0


@dataclass(slots=True)
class Context:
    """One sequence being decoded: its caches and how far they are filled.

    `check` is called before every graph call and may raise to cancel.
    """

    state: State
    check: Check = never
    filled: int = 0
    steps: dict[int, Step] = field(default_factory=dict)  # by their rows
    decoded: int = 0  # steps since the prefill
    graph_seconds: float = 0.0
    calls: int = 0

    def rewind(self, rows: int) -> None:
        """Keeps the first `rows` alone.

        The caches still hold the later rows, but the masks hide them from every call.
        """
        assert rows <= self.filled
        self.filled = rows

    def accept(self, rows: int = 1) -> None:
        """Takes rows back that were fed in the last step and are behind a `rewind` since."""
        self.filled += rows
        assert self.filled <= self.state.capacity

    def copy(self, rows: int) -> Context:
        """Returns a context with a copy of the first `rows` in caches of its own."""
        assert rows <= self.filled
        return Context(self.state.copy(rows), filled=rows)


@dataclass(slots=True)
class Decoder:
    """Runs a step graph.

    Args:
        graph: `thinker_step` or `talker_step`.
        dims: its dimensions.
        context_limit: largest number of rows of a sequence, at most what the model was trained
            for.
    """

    graph: Graph
    dims: DecoderDims
    context_limit: int
    rope: MRope = field(init=False)
    prefill_rows: int = field(init=False)
    step_rows: int = field(init=False)
    """The most rows of a step."""

    def __post_init__(self) -> None:
        self.rope = MRope.of(self.dims)
        self.context_limit = min(self.context_limit, self._limit("capacity"))
        self.prefill_rows = min(PREFILL_ROWS, self._limit("rows"))
        picks = "picked" in self.graph.contract.symbols
        self.step_rows = min(PICKED_ROWS, self.prefill_rows, self._limit("picked")) if picks else 1

    def start(self, expected_rows: int, check: Check = never) -> Context:
        """Returns an empty context with room for `expected_rows`."""
        return Context(self.graph.new_state(self._bucket(expected_rows)), check)

    def prefill(self, context: Context, embeds: Array, positions: Array) -> Rows:
        """Feeds many rows in chunks of `prefill_rows`.

        Args:
            embeds: f32[rows, embed_width].
            positions: i64[3, rows].

        Returns:
            Logits of the last row and, for the Thinker, the hidden states of all rows.
        """
        rows = embeds.shape[0]
        context.decoded = 0
        self._reserve(context, rows)
        hidden = None
        logits = np.empty(0, np.float32)
        for start in range(0, rows, self.prefill_rows):
            stop = min(start + self.prefill_rows, rows)
            bound = self._bind(context, stop - start)
            inputs = bound.inputs
            inputs["embeds"][0] = embeds[start:stop]
            self.rope.write(positions[:, None, start:stop], inputs["cos"], inputs["sin"])
            seen = context.filled + np.arange(1, stop - start + 1)
            mask = inputs["mask"][0, 0]
            np.less(np.arange(context.state.capacity)[None, :], seen[:, None], out=mask)
            self._run(context, bound, stop - start)
            # a row that is not finite makes every later one so, over its keys and values
            logits = self._logits(bound, f"prefill of rows up to {context.filled}")[0]
            if "hidden" in bound.outputs:
                if hidden is None:
                    hidden = np.empty((rows, self.dims.hidden), np.float32)
                hidden[start:stop] = bound.outputs["hidden"][0]
        return Rows(logits, hidden)

    def decode(self, context: Context, embed: Array, position: int) -> Rows:
        """Feeds one row f32[embed_width] whose position is the same on all three axes."""
        logits, hidden = self.step(context, embed[None], position)
        return Rows(logits[0], hidden)

    def step(self, context: Context, embeds: Array, position: int) -> Rows:
        """Feeds a few rows, at most `step_rows`, and returns the logits of each.

        Args:
            embeds: f32[rows, embed_width].
            position: of the first row, on all three axes; the others follow it.
        """
        rows = embeds.shape[0]
        assert 0 < rows <= self.step_rows
        self._reserve(context, rows)
        step = context.steps.get(rows)
        if step is None:
            step = context.steps[rows] = Step(self._bind(context, rows, picked=rows))
        inputs = step.bound.inputs
        inputs["embeds"][0] = embeds
        self.rope.write_steps(position, inputs["cos"], inputs["sin"])
        _show(inputs["mask"][0, 0], step.seen, context.filled + 1)
        step.seen = context.filled + 1
        self._run(context, step.bound, rows)
        step.runs += 1
        context.decoded += 1
        logits = self._logits(step.bound, f"decode step {context.decoded}")
        hidden = step.bound.outputs.get("hidden")
        return Rows(logits, None if hidden is None else hidden[0])

    def _logits(self, bound: Bound, step: str) -> Array:
        """Returns the logits of a run, f32[picked, vocab]. Raises `NotFinite`."""
        logits: Array = bound.outputs["logits"]
        require_finite(logits, self.graph.contract.name, "logits", step)
        return logits

    def _run(self, context: Context, bound: Bound, rows: int) -> None:
        context.check()
        bound.inputs["write_index"][0] = context.filled
        began = time.perf_counter()
        bound.run()
        context.graph_seconds += time.perf_counter() - began
        context.calls += 1
        context.filled += rows

    def _bind(self, context: Context, rows: int, picked: int = 1) -> Bound:
        """Binds a call that computes logits of its last rows, `picked` of them."""
        sizes = {"rows": rows, "picked": picked, "capacity": context.state.capacity}
        known = self.graph.contract.symbols
        bound = self.graph.bind({s: sizes[s] for s in sizes if s in known}, context.state)
        if "picked" in known:
            bound.inputs["head_rows"][:] = np.arange(rows - picked, rows)
        return bound

    def _reserve(self, context: Context, rows: int) -> None:
        needed = context.filled + rows
        if needed > context.state.capacity:
            context.steps.clear()  # they hold the old caches
            context.state.grow(self._bucket(needed), context.filled)

    def _limit(self, symbol: str) -> int:
        limit = self.graph.limit(symbol)
        return sys.maxsize if limit is None else limit

    def _bucket(self, rows: int) -> int:
        if rows > self.context_limit:
            raise OmnijetError(
                "the KV cache is too small",
                where=self.graph.contract.name,
                expected=f"at most {self.context_limit} rows",
                got=f"{rows} rows",
            )
        growth, bucket = self.graph.growth, SMALLEST_BUCKET
        if growth is None:
            while bucket < rows:
                bucket *= 2
        else:
            step = growth * max(rows // (SHARE * growth), 1)
            bucket = -(-rows // step) * step
        return min(bucket, self.context_limit)


def _show(mask: Array, seen: int, now: int) -> None:
    """Changes a causal mask bool[rows, capacity] whose first row shows `seen` rows of a cache, so
    that it shows `now`, and each later row one more.
    """
    for row, line in enumerate(mask):
        before = seen + row if seen else 0
        if before > now + row:  # the context was rewound since
            line[now + row : before] = False
        else:
            line[before : now + row] = True
