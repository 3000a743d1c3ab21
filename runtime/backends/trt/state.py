"""The carried state of one sequence: an engine's KV caches, lent by the graph."""

from __future__ import annotations

from collections.abc import Sequence

from omnijet.runtime.backends.lease import Lease, Workspace
from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.trt.caches import Caches
from omnijet.runtime.backends.trt.engine import Engine
from omnijet.runtime.backends.trt.work import Work
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

KEPT_WORKS = 3
"""Works that are kept for one set of caches: a decode step, a full step of prefill, and what is
left of a prompt."""

EngineWorkspace = Workspace[Caches, Work]
EngineLease = Lease[Caches, Work]


class EngineState:
    """Satisfies `omnijet.runtime.backends.protocol.State`.

    Args:
        idle: workspaces that nobody uses, by capacity.
        most: the largest capacity that the engine takes.

    Attributes:
        lease: the caches, all zeros at first, and the work bound to them.
    """

    def __init__(
        self, engine: Engine, capacity: int, idle: Pool[EngineWorkspace], most: int
    ) -> None:
        self._engine, self._idle, self._most = engine, idle, most
        self.lease = self._lend(capacity)

    @property
    def capacity(self) -> int:
        return self.caches.capacity

    @property
    def caches(self) -> Caches:
        return self.lease.caches

    def grow(self, capacity: int, filled: int) -> None:
        """Raises `OmnijetError` if the engine takes no such capacity."""
        if capacity <= self.capacity:
            return
        if capacity > self._most:
            raise OmnijetError(
                "the KV cache of an engine cannot grow",
                where=self._engine.contract.name,
                expected=f"at most {self._most} rows",
                got=f"{capacity} rows",
                fix="build the engines with a larger capacity",
            )
        larger = self._lend(capacity)
        self.caches.copy_to(larger.caches, filled)
        self.lease.discard()  # kept, it would displace the caches that the next sequence grows into
        self.lease = larger

    def copy(self, filled: int) -> EngineState:
        twin = EngineState(self._engine, self.capacity, self._idle, self._most)
        self.caches.copy_to(twin.caches, filled)
        return twin

    def rows(self, chosen: Sequence[int]) -> dict[str, Array]:
        """Raises `OmnijetError` if CUDA fails."""
        return self.caches.rows(chosen)

    def _lend(self, capacity: int) -> EngineLease:
        found = self._idle.take(capacity)
        if found is None:
            found = Workspace(Caches(self._engine, capacity), Pool(KEPT_WORKS))
        lease: EngineLease = Lease(found, self._idle, capacity)
        lease.caches.zero()
        return lease
