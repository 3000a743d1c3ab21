"""A backend whose graphs compute NaN or infinity when they are told to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.protocol import Bound, Graph, State
from omnijet.runtime.bundle.contract import Array, GraphContract, Precision


@dataclass
class Poison:
    """What goes wrong.

    Attributes:
        graph: the name of the graph; None: none is poisoned.
        good_runs: how many of its runs are still right.
        value: what then fills part of its outputs.
    """

    graph: str | None = None
    good_runs: int = 0
    value: float = float("nan")
    runs: int = field(default=0, init=False)

    def strikes(self, name: str) -> bool:
        """Counts a run of a graph; returns whether it goes wrong."""
        if name != self.graph:
            return False
        self.runs += 1
        return self.runs > self.good_runs


class _Bound:
    def __init__(self, bound: Bound, name: str, backend: PoisonedBackend) -> None:
        self._bound, self._name, self._backend = bound, name, backend
        self._poisoned: dict[str, Array] = {}

    @property
    def inputs(self) -> Mapping[str, Array]:
        return self._bound.inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        return {**self._bound.outputs, **self._poisoned}

    def run(self) -> None:
        self._bound.run()
        self._poisoned = {}
        if self._backend.poison.strikes(self._name):
            for name, array in self._bound.outputs.items():
                bad = np.array(array)
                bad.reshape(-1)[[0, -1]] = self._backend.poison.value
                self._poisoned[name] = bad


class _Graph:
    def __init__(self, graph: Graph, backend: PoisonedBackend) -> None:
        self._graph, self._backend = graph, backend

    @property
    def contract(self) -> GraphContract:
        return self._graph.contract

    @property
    def growth(self) -> int | None:
        return self._graph.growth

    @property
    def joins(self) -> bool:
        return self._graph.joins

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> Bound:
        return _Bound(self._graph.bind(sizes, state, kept), self.contract.name, self._backend)

    def new_state(self, capacity: int) -> State:
        return self._graph.new_state(capacity)

    def limit(self, symbol: str) -> int | None:
        return self._graph.limit(symbol)


class PoisonedBackend:
    """ONNX Runtime on the CPU; `poison` says what goes wrong."""

    name = "poisoned"
    precisions: tuple[Precision, ...] = ("f32", "f16")

    def __init__(self) -> None:
        self._backend = OrtBackend(threads=1)
        self.poison = Poison()

    def load(self, path: Path, contract: GraphContract) -> Graph:
        return _Graph(self._backend.load(path, contract), self)

    def limit(self, graph: str, symbol: str) -> int | None:
        return self._backend.limit(graph, symbol)

    def close(self) -> None:
        self._backend.close()
