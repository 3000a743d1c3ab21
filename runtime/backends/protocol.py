"""What the pipeline asks of an inference backend, and nothing more.

A graph is bound once per set of sizes: buffers are allocated then, written in place and run many
times. A backend can keep them pinned, on a device, or capture the call; the pipeline does not
know which backend runs.

A backend is one module or folder beside this file, with a class that satisfies `BackendClass` and
`Backend`, and one row in `omnijet.runtime.backends.choose.BACKENDS`. Its author needs to know the
following.

* Buffers. `bind` and `new_state` hand out zeros. A backend whose buffers are not host memory
  derives `inputs` and `outputs` from `OnDemand`, and moves an array when it is taken. `Pool` and
  `Lease` keep buffers for the next user. `OrtBackend` is the simplest example.
* Threads. A stream has two workers, and an application has several streams: different threads run
  different graphs, and the same graph with different states, at the same time. Everything that the
  runs of one graph share (a CUDA stream, a context, scratch memory) needs a lock of the backend.
  One thread at a time uses a `Bound` or a `State`. Nothing may be kept by thread, because every
  stream has new threads.
* `device_call`. A thread that holds such a lock, or anything else that another thread waits for,
  must be within `with device_call():`, and must enter it before it takes the lock. The reason is
  the garbage collector, which may run in the middle of the call and find a stream that nobody
  reads any longer. Ending the stream joins its workers, and one of them may be waiting for this
  very lock. Within `device_call` the stream is cancelled, but its workers are not joined.
* Lanes. Where several turns share a model fairly, at most two runs are made at once
  (`omnijet.runtime.backends.lanes`), each within `device_call`; a backend need not know of it.
* Cancelling. A thread may work under a switch (`omnijet.runtime.cancel.here`). Where a run can be
  ended in the middle, it ends when the switch is set, and raises what the switch raises; caches
  hold complete rows or none then, and the graph stays usable. Elsewhere the run comes to its end,
  and the pipeline looks at the switch before the next one.
* Errors. What a user can mend is an `OmnijetError` with the way out: a file that is missing, a
  library that is too old, memory that ran out. A graph file is checked against its contract with
  `omnijet.runtime.bundle.contract.verify` when it is loaded.
* Closing. `Backend.close` says what must have ended when it returns; `Opened` keeps the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from omnijet.runtime.bundle.contract import Array, GraphContract, Precision
from omnijet.runtime.bundle.folder import Bundle
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
        """Returns a state of the same capacity, with the first `filled` rows in buffers of its
        own.
        """
        ...

    def rows(self, chosen: Sequence[int]) -> dict[str, Array]:
        """Returns copies of these rows of every carried tensor, by the name of its input:
        [1, kv_heads, chosen, head_dim].
        """
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
        not taken keeps its values.
        """
        ...

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Host arrays, valid after `run` until the next one. Take them anew after each run."""
        ...

    def run(self) -> None:
        """Runs the graph, and returns when the outputs can be taken.

        Raises:
            OmnijetError: the run fails, or the backend was closed.
            Cancelled: or what the thread's switch raises, if the backend looks at it.
        """
        ...


class Graph(Protocol):
    """One loaded graph whose file was checked against its contract."""

    @property
    def contract(self) -> GraphContract: ...

    @property
    def growth(self) -> int | None:
        """Rows by which full caches grow best; None: they double.

        Few, if a run reads the whole capacity and growing copies memory of the host; doubling, if
        what is prepared for a capacity (captured calls, buffers of a device) is worth more than
        the rows that a run reads in vain. Meaningless for a graph that carries no state.
        """
        ...

    @property
    def joins(self) -> bool:
        """Whether one call with several pictures is faster than a call for each.

        On a GPU, which small calls leave idle; on a CPU others get their turn between the calls.
        """
        ...

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> Bound:
        """Allocates buffers.

        Args:
            sizes: the size of each symbol of the contract.
            state: supplies the carried tensors.
            kept: the caller keeps the buffers for many runs to come, which is worth some
                preparation.
        """
        ...

    def new_state(self, capacity: int) -> State:
        """Returns a zeroed state of at least `capacity` rows: an engine may have one size."""
        ...

    def limit(self, symbol: str) -> int | None:
        """Returns the largest size of an axis (`AXES` of the contract) that can be bound; None:
        there is no limit.
        """
        ...


class Backend(Protocol):
    """Loads graphs, and ends them."""

    @property
    def name(self) -> str: ...

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions of the bundles whose graphs it can load."""
        ...

    def load(self, path: Path, contract: GraphContract) -> Graph:
        """Loads a graph.

        Args:
            path: the ONNX graph; a backend of engines knows where its own files lie.

        Raises:
            ContractError: the file's boundary differs.
            OmnijetError: the graph cannot be loaded, or the backend was closed.
        """
        ...

    def limit(self, graph: str, symbol: str) -> int | None:
        """Returns `Graph.limit` of the graph of this name, without loading it."""
        ...

    def close(self) -> None:
        """Ends every thread that the backend started, and lets go of what its graphs hold.

        Whatever it loaded must not be run afterwards: such a run raises `OmnijetError`. A run
        that another thread has begun comes to its end. Buffers and states that a caller still has
        are freed when the caller lets go of them; they keep no weights in memory. Calling `close`
        twice is harmless. It must not be called within a `device_call`, nor by a finalizer.
        """
        ...


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """What a user asks a backend for.

    Attributes:
        name: the provider or, for engines, the target that the user named.
        threads: how many threads a graph may use on the CPU; 0: the backend chooses.
        built: whether graphs that `omnijet build` made for ONNX Runtime may run in place of the
            bundle's own.
    """

    bundle: Bundle
    name: str
    threads: int = 0
    built: bool = True


class BackendClass(Protocol):
    """The class of a backend, as a row of the table names it."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """`Backend.precisions`, known before there is a backend."""
        ...

    def for_request(self, request: BackendRequest) -> Backend:
        """Makes a backend, as a class method.

        Raises:
            OmnijetError: what the user asks for cannot run here.
        """
        ...


def require_state(contract: GraphContract, sizes: Mapping[str, int], state: State | None) -> None:
    """Checks that a graph that carries state is bound with a state of the capacity asked for.

    Raises:
        ContractError: the state is missing, or of another capacity.
    """
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
    """Runs a graph with buffers of its own: for encoders, which run once per picture or clip."""
    bound = graph.bind(sizes)
    for name, array in feeds.items():
        bound.inputs[name][...] = array
    bound.run()
    return dict(bound.outputs)
