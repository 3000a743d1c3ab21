"""The client's events that wait, within bounds."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_EVENTS = 512
MOST_CHARACTERS = 4 << 20
"""The texts of all events that wait have no more; a longer event waits alone."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event of the client.

    Attributes:
        at: when it came, on the clock of `time.perf_counter`.
        weight: characters of its texts.
    """

    event: Mapping[str, Any]
    at: float
    weight: int


Work = Callable[[], None]


class Inbox:
    """A queue of events and of work of one's own, which is not bounded and goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: deque[Arrived] = deque()
        self._works: deque[Work] = deque()
        self._weight = 0
        self._is_shut = False

    def put(self, event: Mapping[str, Any]) -> bool:
        """Adds an event. Returns False if there is no room for it."""
        weight = _weight(event)
        with self._changed:
            if self._is_shut:
                return True
            if not self._has_room or (self._events and self._weight + weight > MOST_CHARACTERS):
                return False
            self._events.append(Arrived(event, time.perf_counter(), weight))
            self._weight += weight
            self._changed.notify_all()
            return True

    def work(self, work: Work) -> None:
        """Adds something to do."""
        with self._changed:
            self._works.append(work)
            self._changed.notify_all()

    def take(self, seconds: float | None = None) -> Arrived | Work | None:
        """Waits for the next. None: it is shut, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._works or self._events or self._is_shut, seconds)
            if self._is_shut:
                return None
            if self._works:
                return self._works.popleft()
            if not self._events:
                return None
            arrived = self._events.popleft()
            self._weight -= arrived.weight
            self._changed.notify_all()
            return arrived

    def wait_for_room(self, seconds: float | None = None) -> bool:
        """Waits until another event finds room, or the inbox is shut."""
        with self._changed:
            return self._changed.wait_for(lambda: self._has_room or self._is_shut, seconds)

    @property
    def is_shut(self) -> bool:
        """Whether nothing is taken any more."""
        return self._is_shut

    def shut(self) -> None:
        """Ends whoever waits; what waits is forgotten. Harmless if repeated."""
        with self._changed:
            self._is_shut = True
            self._events.clear()
            self._works.clear()
            self._weight = 0
            self._changed.notify_all()

    @property
    def _has_room(self) -> bool:
        waiting = len(self._events) + len(self._works)
        return waiting < MOST_EVENTS and self._weight < MOST_CHARACTERS


def _weight(value: Any, depth: int = 8) -> int:
    """Returns about how many characters a value holds."""
    if isinstance(value, str):
        return len(value)
    if depth and isinstance(value, Mapping):
        return sum(len(str(key)) + _weight(one, depth - 1) for key, one in value.items())
    if depth and isinstance(value, list):
        return sum(_weight(one, depth - 1) for one in value)
    return 8
