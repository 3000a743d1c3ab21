"""The carried state of one sequence: an engine's KV caches, lent by the graph."""

from __future__ import annotations

from omnijet.runtime.backends.lease import Lease, Workspace
from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.trt.caches import Caches
from omnijet.runtime.backends.trt.engine import Engine
from omnijet.runtime.backends.trt.work import Work
from omnijet.runtime.errors import OmnijetError

KEPT_WORKS = 3
"""Works that are kept for one set of caches: a decode step, a full step of prefill, and what is
left of a prompt."""

EngineWorkspace = Workspace[Caches, Work]
EngineLease = Lease[Caches, Work]


class EngineState:
    """Satisfies `omnijet.runtime.backends.protocol.State`.

    Args:
        capacity: the engine's one capacity.
        idle: workspaces that nobody uses.

    Attributes:
        lease: the caches, all zeros at first, and the work bound to them.
    """

    def __init__(self, engine: Engine, capacity: int, idle: Pool[EngineWorkspace]) -> None:
        self.capacity = capacity
        self._engine, self._idle = engine, idle
        found = idle.take()
        if found is None:
            found = Workspace(Caches(engine, capacity), Pool(KEPT_WORKS))
        self.lease: EngineLease = Lease(found, idle)
        self.caches.zero()

    @property
    def caches(self) -> Caches:
        return self.lease.caches

    def grow(self, capacity: int, filled: int) -> None:
        """Checks the capacity: an engine has one, and its caches have it from the start."""
        if capacity > self.capacity:
            raise OmnijetError(
                "the KV cache of an engine cannot grow",
                where=self._engine.contract.name,
                expected=f"at most {self.capacity} rows",
                got=f"{capacity} rows",
                fix="build the engines with a larger capacity",
            )

    def copy(self, filled: int) -> EngineState:
        twin = EngineState(self._engine, self.capacity, self._idle)
        self.caches.copy_to(twin.caches, filled)
        return twin
