"""The caches of one sequence, lent to whoever decodes it."""

from __future__ import annotations

import weakref

from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.trt.caches import Caches
from omnijet.runtime.backends.trt.engine import Engine
from omnijet.runtime.errors import OmnijetError


class EngineState:
    """Satisfies `omnijet.runtime.backends.protocol.State`.

    Args:
        capacity: the engine's one.
        idle: caches that nobody uses; there go these when nobody refers to this object.

    Attributes:
        caches: all zeros at first.
    """

    def __init__(self, engine: Engine, capacity: int, idle: Pool[Caches]) -> None:
        self.capacity = capacity
        self._engine, self._idle = engine, idle
        self.caches = idle.take() or Caches(engine, capacity)
        weakref.finalize(self, idle.give, self.caches).atexit = False
        self.caches.zero()

    def grow(self, capacity: int, filled: int) -> None:
        """An engine has one capacity, and its caches have it from the start."""
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
