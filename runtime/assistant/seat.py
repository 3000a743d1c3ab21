"""One person's place at the assistant."""

from __future__ import annotations

import time
from collections.abc import Callable

from omnijet.runtime.backends.ticket import Ticket
from omnijet.runtime.cancel import Cancellation
from omnijet.runtime.talk.session import Session


class Seat:
    """A conversation of one person.

    Attributes:
        session: the conversation. Turns are made with `Assistant.turn`, sound is fed with
            `Assistant.feed`; its other methods may be called directly.
        id: of the session, for logs.
        gone: set when the seat is left: its turns that wait end.
        used: when it was last used, on the clock of `time.monotonic`.
        busy: calls of the assistant that use it now.
        ticket: the account of what it listens to; each turn has one of its own.
    """

    def __init__(self, session: Session, id: str, left: Callable[[Seat], None]) -> None:
        self.session = session
        self.id = id
        self.gone = Cancellation()
        self.used = time.monotonic()
        self.busy = 0
        self.ticket = Ticket()
        self._left = left

    def leave(self) -> None:
        """Ends the conversation. Harmless if repeated."""
        self._left(self)
