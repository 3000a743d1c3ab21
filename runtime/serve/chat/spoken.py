"""What spoken replies said, by the ids that clients refer to them with."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_REPLIES = 4096
MOST_CHARACTERS = 4 << 20
LIFE_S = 3600


class SpokenReplies:
    """Remembers transcripts for an hour; the oldest go when there are too many.

    The sound itself is not kept: the model reads a conversation's replies as text.

    Threads: any thread may use it.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._changing = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._characters = 0

    def new_id(self) -> str:
        """Returns an id that no reply had."""
        return f"audio_{secrets.token_hex(12)}"

    def keep(self, id: str, transcript: str) -> int:
        """Remembers a reply; returns until when, in seconds since 1970."""
        until = self._now() + LIFE_S
        with self._changing:
            self._kept[id] = (until, transcript)
            self._characters += len(transcript)
            while len(self._kept) > MOST_REPLIES or self._characters > MOST_CHARACTERS:
                _, (_, gone) = self._kept.popitem(last=False)
                self._characters -= len(gone)
        return int(until)

    def transcript(self, id: str) -> str | None:
        """Returns what a reply said; None if it is not known, or not any more."""
        with self._changing:
            until, said = self._kept.get(id, (0.0, ""))
        return said if until > self._now() else None
