"""Conversations of single requests, kept with their caches for the request that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnijet.runtime.assistant.content_key import message_key
from omnijet.runtime.assistant.seat import Seat
from omnijet.runtime.prompt.messages import Message


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A conversation that nobody uses now.

    Attributes:
        messages: what its caches hold, with their encoded media.
        keys: of these messages.
    """

    seat: Seat
    messages: tuple[Message, ...]
    keys: tuple[bytes, ...]

    def shared(self, keys: Sequence[bytes]) -> int:
        """Returns how many messages another conversation begins with, too.

        0, unless a question is among them: whoever begins anew spoils nobody's caches.
        """
        pairs = zip(self.keys, keys, strict=False)
        count = next((n for n, (own, other) in enumerate(pairs) if own != other), None)
        if count is None:
            count = min(len(self.keys), len(keys))
        asked = any(message.role == "user" for message in self.messages[:count])
        return count if asked else 0


class Pool:
    """The conversations that are kept, the oldest first. The caller has the lock.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[Kept] = []

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, keys: Sequence[bytes]) -> tuple[Kept, int] | None:
        """Returns whose caches hold the longest beginning of a conversation, and how long it is.

        None: no cache is of use.
        """
        best, count = None, 0
        for one in reversed(self._kept):  # of equals the latest
            if (shared := one.shared(keys)) > count:
                best, count = one, shared
        if best is None:
            return None
        self._kept.remove(best)
        return best, count

    def put(self, kept: Kept) -> list[Seat]:
        """Keeps a conversation. Returns those that go for it."""
        self._kept.append(kept)
        return [self.evict() for _ in range(len(self._kept) - self._most)]

    def evict(self) -> Seat:
        """Lets go of the one that was not used for longest."""
        return self._kept.pop(0).seat

    def older(self, moment: float) -> list[Seat]:
        """Lets go of those that were last used before a moment."""
        old = [one.seat for one in self._kept if one.seat.used <= moment]
        self._kept = [one for one in self._kept if one.seat.used > moment]
        return old

    def next_due(self) -> float | None:
        """Returns when the first was last used; None: there is none."""
        return min((one.seat.used for one in self._kept), default=None)


class Lent:
    """A seat that is lent for one request, and the keys of what is known of its messages."""

    def __init__(self, messages: Sequence[Message], keys: Sequence[bytes]) -> None:
        # the messages, too: an id is that of one thing as long as the thing is there
        self._known = {
            id(message): (message, key) for message, key in zip(messages, keys, strict=True)
        }

    def learn(self, message: Message, key: bytes) -> None:
        """Notes the key of a message that was added."""
        self._known[id(message)] = (message, key)

    def kept(self, seat: Seat) -> Kept:
        """Returns the conversation as it is now."""
        messages = tuple(seat.session.messages)
        known = [self._known.get(id(message)) for message in messages]
        keys = [
            message_key(message) if pair is None else pair[1]
            for message, pair in zip(messages, known, strict=True)
        ]
        return Kept(seat, messages, tuple(keys))
