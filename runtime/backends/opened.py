"""The graphs and sessions that a backend has opened, so that it can close them."""

from __future__ import annotations

from threading import Lock
from typing import Protocol, TypeVar
from weakref import WeakSet

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.errors import OmnijetError


class Closable(Protocol):
    """A graph or a session. Closing it twice is harmless."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Opened:
    """The graphs and sessions of one backend that are still in use.

    References to them are weak: what nobody uses any longer is freed, closed or not.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._alive: WeakSet[Closable] = WeakSet()
        self._is_closed = False

    def require_open(self, graph: str) -> None:
        """Raises `OmnijetError` if the backend was closed; `graph` is the one to be loaded."""
        if self._is_closed:
            raise backend_closed(graph)

    def add(self, thing: C, graph: str) -> C:
        """Remembers what was opened for a graph, and returns it.

        Raises:
            OmnijetError: the backend was closed meanwhile. The thing is closed, too.
        """
        with device_call(), self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._alive.add(thing)
        if is_closed:
            thing.close()
            raise backend_closed(graph)
        return thing

    def close(self) -> None:
        """Closes everything, now and whatever is added later."""
        with device_call(), self._lock:
            self._is_closed = True
            alive = list(self._alive)
        for thing in alive:
            thing.close()


def backend_closed(graph: str) -> OmnijetError:
    """The error of a graph that is used too late."""
    return OmnijetError(
        f"graph {graph} cannot run: its backend was closed",
        fix="open the bundle again with `omnijet.load`",
    )
