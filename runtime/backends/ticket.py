"""The account of a turn: how much of each lane it had, and whether its listener is in need.

A turn has a tag in each lane, which its calls move on by their seconds; the lowest tag goes first.
A tag starts where the lane is: at the rank of the last call that it let in (start-time fair
queueing, Goyal, Vin and Cheng 1996). One that fell behind, because its turn wanted nothing, is
moved there again: nobody can save up for later.

Before its first sound a turn is let in as if it had had `NEW_S` less, and its first `NEW_S` seconds
do not move its tags. So turns that came together sound one after another, each soon, instead of all
late. What a lane gave away this way is its debt: new turns wait the more, the larger it is, and
the other turns work it off. So a stream of new turns starves no reply.

Later a turn is let in as if it had had `NEED_S` less whenever its listener is about to have heard
all that there is. A long reply that is ahead of its listener steps back for a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from math import inf

NEW_S = 1.0
"""How many seconds of calls a turn without a sound is ahead of the others."""
NEED_S = 0.5
"""How many a turn is ahead whose listener has little sound left."""
MARGIN_S = 0.5
"""How many seconds of sound are little."""

Rank = tuple[float, int]

_numbers = count()


class Ticket:
    """The account of one turn. Threads: any thread may use it.

    Args:
        heard_until: until when its listener has sound, on the clock of `time.perf_counter`; None:
            there was none yet.
    """

    __slots__ = ("_credit", "_heard_until", "_number", "_tags")

    def __init__(self, heard_until: float | None = None) -> None:
        self._number = next(_numbers)
        self._tags = [-inf, -inf]  # by lane; each is changed by whoever has the lane's lock
        self._credit = NEW_S  # what is left of it
        self._heard_until = heard_until

    @contextmanager
    def used(self) -> Iterator[None]:
        """Has the calls of this thread, and of those that it starts, on this account."""
        token = TICKET.set(self)
        try:
            yield
        finally:
            TICKET.reset(token)

    def sounded(self, seconds: float, now: float | None = None) -> None:
        """Notes that there is more sound for the listener; `now` is of `time.perf_counter`."""
        moment = time.perf_counter() if now is None else now
        before = moment if self._heard_until is None else max(self._heard_until, moment)
        self._heard_until = before + seconds

    def begin(self, lane: int, start: float, now: float) -> float:
        """Notes that it wants a lane, or is let in.

        Args:
            start: where the lane is.

        Returns:
            Where the lane is if the call is let in.
        """
        tags, heard_until = self._tags, self._heard_until
        tag, ahead = tags[lane], 0.0
        if heard_until is None:
            if self._credit > 0:
                if tag == -inf:
                    tags[lane] = start
                return start
            ahead = NEW_S
        elif heard_until - now < MARGIN_S:
            ahead = NEED_S
        if tag < start:
            tags[lane] = tag = start
        return max(start, tag - ahead)

    def charge(self, lane: int, seconds: float) -> float:
        """Notes a call that ended in a lane. Returns by how much the lane's debt grows."""
        if self._heard_until is None and self._credit > 0:
            self._credit -= seconds
            return seconds
        self._tags[lane] += seconds
        return -seconds

    def rank(self, lane: int, debt: float, now: float) -> Rank:
        """Returns what is compared with other turns: the lowest goes first."""
        tag = self._tags[lane]
        if self._heard_until is None:
            tag -= NEW_S - (debt if self._credit > 0 else 0.0)
        elif self._heard_until - now < MARGIN_S:
            tag -= NEED_S
        return tag, self._number


TICKET: ContextVar[Ticket | None] = ContextVar("omnijet-ticket", default=None)
"""Whose calls the present thread makes; without one each call is a turn of its own."""
