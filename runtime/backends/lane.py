"""Lanes to a model: one graph call at a time in each, given to the turns in fairness.

When a lane becomes free, the call goes to the turn that `omnijet.runtime.backends.ticket` ranks
first. Between two calls of a turn its thread has work of its own. If the turn would be next again,
the lane waits for it, but no longer than `GRACE_S`; without that, two turns would always alternate.

A lane is never held while its thread waits for another thread. A thread that waits for a lane
stops at once when its switch (`omnijet.runtime.cancel.here`) is set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock, get_ident
from types import TracebackType

from omnijet.runtime.backends.ticket import TICKET, Rank, Ticket
from omnijet.runtime.cancel import here

GRACE_S = 0.002
"""How many seconds a lane waits for the next call of the turn that would be next."""

Clock = Callable[[], float]


class _Call:
    """A call that has the lane, or waits for it; a plain class, as each graph call makes one."""

    __slots__ = ("began", "has_lane", "nested", "returns", "thread", "ticket", "wakes")

    def __init__(self, thread: int, ticket: Ticket | None) -> None:
        self.thread, self.ticket = thread, ticket
        self.began, self.nested, self.has_lane = 0.0, 0, False
        self.returns = ticket is not None  # whether its turn may have another call
        self.wakes: SimpleQueue[float | None]  # of one that waits; seconds: how long to wait yet


class Lane:
    """Holds one call at a time. Its thread may enter again.

    Whoever enters must be within `device_call`.

    Args:
        number: of the lane in a ticket, 0 or 1.
        clock: seconds from somewhere, as `time.perf_counter`.
        grace_s: how long it waits for the turn that would be next.
    """

    def __init__(
        self,
        number: int = 0,
        clock: Clock = time.perf_counter,
        grace_s: float = GRACE_S,
    ) -> None:
        self._start = 0.0  # of new tags
        self._debt = 0.0  # seconds that new turns had for nothing
        self._number, self._clock, self._grace_s = number, clock, grace_s
        self._lock = Lock()
        self._inside: _Call | None = None
        self._waiting: list[_Call] = []
        self._expected: Ticket | None = None  # whose next call the lane waits for

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    def enter(self) -> None:
        """Waits for the lane.

        Raises:
            Cancelled: or what the thread's switch raises, if it was set before there was room.
        """
        thread = get_ident()
        inside = self._inside
        if inside is not None and inside.thread == thread:  # nobody else puts it there
            inside.nested += 1
            return
        call = _Call(thread, TICKET.get())
        with self._lock:
            if self._inside is None and (
                not self._waiting or (call.ticket is self._expected is not None)
            ):
                self._inside, self._expected = call, None
                call.began = self._clock()
                if call.ticket is not None:
                    self._start = call.ticket.begin(self._number, self._start, call.began)
                return
        self._wait(call)

    def leave(self) -> None:
        """Gives the lane to the turn that has had least."""
        inside = self._inside
        assert inside is not None
        if inside.nested:
            inside.nested -= 1
            return
        with self._lock:
            now, ticket = self._clock(), inside.ticket
            seconds, grown = now - inside.began, 0.0
            if ticket is not None:
                grown = ticket.charge(self._number, seconds)
            self._debt = max(self._debt + grown, 0.0)
            self._inside = None
            if self._waiting:
                self._give(inside, now)

    def expect_no_more(self, ticket: Ticket) -> None:
        """Waits no longer for the next call of a turn."""
        with self._lock:
            if self._expected is ticket:
                self._admit_next()

    def __enter__(self) -> None:
        self.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def _wait(self, call: _Call) -> None:
        switch = here()
        try:
            self._queue(call)
            with nullcontext() if switch is None else switch.waking(lambda: call.wakes.put(None)):
                patience = call.wakes.get()
                while not call.has_lane:
                    if switch is not None:
                        switch.check()
                    patience = self._wait_for_expected(call, patience)
        except BaseException:  # an interrupt, too
            self._forget(call)
            raise

    def _wait_for_expected(self, call: _Call, patience: float | None) -> float | None:
        """Waits until the turn that goes before has come, or has had its time to come."""
        try:
            return call.wakes.get(timeout=patience)
        except Empty:
            with self._lock:
                if self._expected is not None:
                    self._admit_next()
        return None

    def _queue(self, call: _Call) -> None:
        call.wakes = SimpleQueue()
        if call.ticket is None:
            call.ticket, call.returns = Ticket(heard_until=inf), False
        with self._lock:
            call.ticket.begin(self._number, self._start, self._clock())
            self._waiting.append(call)
            if self._inside is None and self._expected is None:
                self._admit_next()  # somebody has left since

    def _forget(self, call: _Call) -> None:
        with self._lock:
            if not call.has_lane:
                if call in self._waiting:
                    self._waiting.remove(call)
                if self._expected is not None:  # it may have been the one who waits for that
                    self._admit_next()
                return
        self.leave()

    def _give(self, before: _Call, now: float) -> None:
        """Lets in who is next, or waits for the turn whose call has just ended."""
        following, ticket = self._first(now), before.ticket
        if ticket is not None and before.returns and self._rank(ticket, now) < following[0]:
            self._expected = ticket
            following[1].wakes.put(self._grace_s)
        else:
            self._admit(following[1], now)

    def _admit_next(self) -> None:
        self._expected = None
        if self._waiting:
            now = self._clock()
            self._admit(self._first(now)[1], now)

    def _first(self, now: float) -> tuple[Rank, _Call]:
        """Returns the call of the turn that has had least; of equals the older turn's."""
        ranked = [(self._rank(one.ticket, now), one) for one in self._waiting]
        return min(ranked, key=lambda pair: pair[0])

    def _admit(self, call: _Call, now: float) -> None:
        self._waiting.remove(call)
        self._inside = call
        if call.ticket is not None:
            self._start = call.ticket.begin(self._number, self._start, now)
        call.has_lane, call.began = True, now
        call.wakes.put(None)

    def _rank(self, ticket: Ticket | None, now: float) -> Rank:
        assert ticket is not None
        return ticket.rank(self._number, self._debt, now)
