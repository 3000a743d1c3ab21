"""A loaded engine as a graph of the protocol: it chooses the profile that serves the sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.protocol import State, require_state
from omnijet.runtime.backends.trt.bound import EngineBound
from omnijet.runtime.backends.trt.engine import Engine
from omnijet.runtime.backends.trt.state import EngineState, EngineWorkspace
from omnijet.runtime.backends.trt.work import Work
from omnijet.runtime.errors import OmnijetError

Profile = Mapping[str, Sequence[int]]
"""The smallest, usual and largest size of each symbol."""

KEPT_WORKS = 2
"""Works that are kept for a graph without caches: chunks of a sound and what is left of it, or the
pictures of a clip."""
KEPT_WORKSPACES = 1
"""The caches of the last sequence are kept for the next."""

WAYS_OUT = {
    "cells": "use a smaller picture or clip, or ",
    "windows": "use a smaller picture or clip, or ",
    "capacity": "shorten the conversation, or ",
}


class EngineGraph:
    """Satisfies `omnijet.runtime.backends.protocol.Graph`.

    Buffers and captured work are kept when they are no longer used, and used again: a second
    reply allocates nothing and captures nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._works: Pool[Work] = Pool(KEPT_WORKS)
        self._idle: Pool[EngineWorkspace] = Pool(KEPT_WORKSPACES)
        self._profiles = engine.entry.profiles
        self.contract = engine.contract
        self.growth: int | None = None
        self.joins = True

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> EngineBound:
        assert state is None or isinstance(state, EngineState)
        require_state(self.contract, sizes, state)
        self._engine.require_open()
        profile = choose_profile(self._profiles, sizes)
        if profile is None:
            raise self._too_large(sizes)
        works, sides, lease = self._works, 0, None
        if state is not None:
            lease = state.lease
            works, sides = lease.works, lease.caches.sides
        key = tuple(sorted(sizes.items()))
        work = works.take(key) or Work(self._engine, profile, sizes, sides)
        return EngineBound(work, works, key, lease)

    def new_state(self, capacity: int) -> EngineState:
        most = self.limit("capacity")
        assert most is not None and self.contract.state, f"{self.contract.name} carries nothing"
        if capacity > most:
            raise self._too_large({"capacity": capacity})
        self._engine.require_open()
        least = max(profile["capacity"][0] for profile in self._profiles)
        return EngineState(self._engine, max(capacity, least), self._idle, most)

    def limit(self, symbol: str) -> int | None:
        return largest(self._profiles, symbol)

    def close(self) -> None:
        """Lets go of all idle buffers, caches and captured work; the engine is the backend's."""
        self._works.close()
        self._idle.close()

    def _too_large(self, sizes: Mapping[str, int]) -> OmnijetError:
        faults, ways, limits = [], "", ""
        for symbol, size in sizes.items():
            ranges = [(profile[symbol][0], profile[symbol][-1]) for profile in self._profiles]
            if not any(least <= size <= most for least, most in ranges):
                faults.append(f"{size} {symbol}")
                ways = ways or WAYS_OUT.get(symbol, "")
                limits += f" --limit {symbol}={size}"
        shown = "; or ".join(
            ", ".join(f"{s} {sizes[0]} to {sizes[-1]}" for s, sizes in profile.items())
            for profile in self._profiles
        )
        return OmnijetError(
            f"the engine of {self.contract.name} was built for other sizes",
            expected=shown,
            got=", ".join(faults or (f"{size} {symbol}" for symbol, size in sizes.items())),
            fix=f"{ways}{self._engine.fix} --graphs {self.contract.name}{limits}",
        )


def largest(profiles: Sequence[Profile], symbol: str) -> int | None:
    """Returns the largest size over all profiles; None: the symbol belongs to other graphs."""
    return max((profile[symbol][-1] for profile in profiles if symbol in profile), default=None)


def choose_profile(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> int | None:
    """Returns the number of the smallest profile that holds the sizes; None: there is none."""
    fits = [
        number
        for number, profile in enumerate(profiles)
        if all(profile[symbol][0] <= size <= profile[symbol][-1] for symbol, size in sizes.items())
    ]
    return min(fits, key=lambda n: prod(size[-1] for size in profiles[n].values()), default=None)
