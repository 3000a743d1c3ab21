"""What the pipeline asks of an inference backend, and nothing more.

A graph is bound once per set of sizes: buffers are allocated then, written in place and
run many times. A backend can keep them pinned, on a device, or capture the call; the
pipeline does not know which backend runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from omnijet.runtime.bundle.contract import Array, GraphContract, Precision
from omnijet.runtime.errors import ContractError


class State(Protocol):
    """Carried state of one graph (its KV caches), updated in place by each run."""

    @property
    def capacity(self) -> int:
        """Rows that the caches hold."""
        ...

    def grow(self, capacity: int, filled: int) -> None:
        """Reallocates at a larger capacity and keeps the first `filled` rows."""
        ...

    def copy(self, filled: int) -> State:
        """The first `filled` rows in buffers of their own, at the same capacity."""
        ...


class Bound(Protocol):
    """A graph with buffers for fixed sizes.

    A backend on a device moves what was asked for, and nothing else: an input counts as
    written if its array was taken from `inputs` since the last run, an output is brought back
    when it is taken from `outputs`.
    """

    @property
    def inputs(self) -> Mapping[str, Array]:
        """Host arrays to write before `run`. Take the array anew before each write; what is
        not taken keeps its values."""
        ...

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Host arrays, valid after `run` until the next one. Take them anew after each run."""
        ...

    def run(self) -> None: ...


class Graph(Protocol):
    """One loaded graph whose file was checked against its contract."""

    @property
    def contract(self) -> GraphContract: ...

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> Bound:
        """Allocates buffers for `sizes`; `state` supplies the carried tensors. `kept`: the caller
        keeps them for many runs to come, which is worth some preparation."""
        ...

    def new_state(self, capacity: int) -> State:
        """Fresh zeroed state of at least `capacity` rows: an engine may have one size."""
        ...

    def limit(self, symbol: str) -> int | None:
        """The largest size of an axis (`AXES` of the contract) that can be bound; None: any."""
        ...


class Backend(Protocol):
    """Loads graphs."""

    @property
    def name(self) -> str: ...

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Of the bundles whose graphs it can load."""
        ...

    def load(self, path: Path, contract: GraphContract) -> Graph:
        """`path` is that of the ONNX graph; a backend of engines knows where its own lie.

        Raises `ContractError` if the file's boundary differs, `OmnijetError` if it
        cannot be loaded."""
        ...

    def limit(self, graph: str, symbol: str) -> int | None:
        """`Graph.limit` of a graph by its name, told without loading it."""
        ...


def require_state(contract: GraphContract, sizes: Mapping[str, int], state: State | None) -> None:
    """A graph that carries state is bound with one of the capacity asked for. Raises
    `ContractError`."""
    if contract.state and (state is None or state.capacity != sizes["capacity"]):
        raise ContractError(
            f"graph {contract.name} needs its carried state",
            where="bind",
            expected=f"state of capacity {sizes['capacity']}",
            got="none" if state is None else f"capacity {state.capacity}",
        )


def run_once(
    graph: Graph, sizes: Mapping[str, int], feeds: Mapping[str, Array]
) -> dict[str, Array]:
    """One call with buffers of its own: for encoders, which run once per picture or clip."""
    bound = graph.bind(sizes)
    for name, array in feeds.items():
        bound.inputs[name][...] = array
    bound.run()
    return dict(bound.outputs)
