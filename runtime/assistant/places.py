"""The places for turns: so many at once, the others wait in the order in which they came."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.cancel import Cancellation, Cancelled

SEAT_SHARE = 4
"""Turns of one seat that may wait: nobody fills the queue alone."""
RECENT = 32  # turns whose length says how long the next ones will take
LONGEST_RETRY_S = 60


@dataclass(slots=True, eq=False)
class _Waiting:
    """A turn that waits. Whatever concerns it puts something in `wakes`."""

    seat: str
    wakes: SimpleQueue[None] = field(default_factory=SimpleQueue)
    has_place: bool = False


class Places:
    """Lets in `limits.turns` turns. The next place goes to who waits longest among the seats with
    the fewest turns.

    Threads: any thread may call any method.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._inside: Counter[str] = Counter()  # turns that have a place, by seat
        self._waiting: list[_Waiting] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many turns wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many turns have a place."""
        return sum(self._inside.values())

    def take(self, seat: str, *switches: Cancellation) -> None:
        """Waits for a place. Whoever got one gives it back.

        Args:
            seat: whose turn it is.
            switches: each of them ends the waiting.

        Raises:
            Busy: too many wait already, it took too long, or the places were closed.
            Cancelled: a switch was set.
        """
        until = time.monotonic() + self._limits.wait_s
        with self._changed:
            self._require_open()
            _check(switches)
            if self.running < self._limits.turns and not self._waiting:
                self._inside[seat] += 1
                return
            of_seat = sum(one.seat == seat for one in self._waiting)
            if len(self._waiting) >= self._limits.waiting or of_seat >= SEAT_SHARE:
                raise Busy("queue", "too many turns wait for a place", self._retry_after())
            me = _Waiting(seat)
            self._waiting.append(me)
        try:
            self._wait(me, until, switches)
        except BaseException:
            self._forget(me)
            raise

    def give(self, seat: str, seconds: float) -> None:
        """Gives a place back.

        Args:
            seconds: how long it was held.
        """
        with self._changed:
            self._recent.append(seconds)
            self._leave(seat)

    def close(self) -> None:
        """Lets in nobody more, and refuses those who wait. Harmless if repeated."""
        with self._changed:
            self._is_closed = True
            for one in self._waiting:
                one.wakes.put(None)

    def wait_empty(self, seconds: float) -> bool:
        """Waits until nobody has a place. Returns whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.running, seconds)

    def _wait(self, me: _Waiting, until: float, switches: tuple[Cancellation, ...]) -> None:
        with ExitStack() as stack:
            for switch in switches:
                stack.enter_context(switch.waking(lambda: me.wakes.put(None)))
            while True:
                with self._changed:
                    _check(switches)
                    if me.has_place:
                        return
                    self._require_open()
                    left = until - time.monotonic()
                    if left <= 0:
                        raise Busy("queue", "no place became free in time", self._retry_after())
                try:
                    me.wakes.get(timeout=left)
                except Empty:
                    continue

    def _forget(self, me: _Waiting) -> None:
        with self._changed:
            if me.has_place:
                self._leave(me.seat)
            else:
                self._waiting.remove(me)

    def _leave(self, seat: str) -> None:
        self._inside[seat] -= 1
        if not self._inside[seat]:
            del self._inside[seat]
        while self._waiting and not self._is_closed and self.running < self._limits.turns:
            # `min` takes the first of equals: who came first
            one = min(self._waiting, key=lambda one: self._inside[one.seat])
            self._waiting.remove(one)
            self._inside[one.seat] += 1
            one.has_place = True
            one.wakes.put(None)
        self._changed.notify_all()

    def _require_open(self) -> None:
        if self._is_closed:
            raise Busy("closing", "the assistant ends", self._retry_after())

    def _retry_after(self) -> int:
        """Returns after how many seconds those who wait now have probably had their turn."""
        usual = sum(self._recent) / len(self._recent) if self._recent else 1.0
        rounds = (len(self._waiting) + 1) / self._limits.turns
        return min(max(math.ceil(usual * rounds), 1), LONGEST_RETRY_S)


def _check(switches: tuple[Cancellation, ...]) -> None:
    if any(switch.is_set for switch in switches):
        raise Cancelled
