"""Where the graph calls of one model pass: freely, or in lanes that several turns share fairly."""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.backends.lane import Lane
from omnijet.runtime.backends.protocol import Bound, Graph, State
from omnijet.runtime.bundle.contract import Array, GraphContract

SPEECH = ("dit_step", "vocoder")
"""Graphs of the lane `speaking`; those of the encoders, the Thinker and the Talker are of the
other."""


class Lanes:
    """The lanes of one model: one writes, one speaks, as the two workers of a stream do.

    So a turn that is alone never waits for itself.

    Attributes:
        speaking: held by whoever uses the buffers of the speech graphs, a window long.
        writing: None as long as calls pass freely.
    """

    def __init__(self) -> None:
        self.speaking = Lane(0)
        self.writing: Lane | None = None

    def regulate(self) -> None:
        """Has calls pass in lanes from now on; what is bound already passes as before."""
        if self.writing is None:
            self.writing = Lane(1)

    def of(self, graph: str) -> Lane | None:
        """Returns the lane of a graph; None: its calls pass freely."""
        if self.writing is None:
            return None
        return self.speaking if graph in SPEECH else self.writing


class PassingGraph:
    """A graph whose calls pass the lanes of a model."""

    def __init__(self, graph: Graph, lanes: Lanes) -> None:
        self._graph, self._lanes = graph, lanes
        self.contract: GraphContract = graph.contract
        self.growth, self.joins = graph.growth, graph.joins

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> Bound:
        bound = self._graph.bind(sizes, state, kept)
        lane = self._lanes.of(self.contract.name)
        return bound if lane is None else PassingBound(bound, lane)

    def new_state(self, capacity: int) -> State:
        return self._graph.new_state(capacity)

    def limit(self, symbol: str) -> int | None:
        return self._graph.limit(symbol)


class PassingBound:
    """Buffers whose runs wait for their lane."""

    __slots__ = ("_bound", "_lane")

    def __init__(self, bound: Bound, lane: Lane) -> None:
        self._bound, self._lane = bound, lane

    @property
    def inputs(self) -> Mapping[str, Array]:
        return self._bound.inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        return self._bound.outputs

    def run(self) -> None:
        # other threads wait for the lane: see the duties of a backend
        with device_call():
            self._lane.enter()
            try:
                self._bound.run()
            finally:
                self._lane.leave()
