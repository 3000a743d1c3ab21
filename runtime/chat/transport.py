"""How a chat reaches who answers, and what comes into its one queue."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from omnijet.runtime.bundle.contract import Array

Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """A server event; `source` is the conversation that it belongs to."""

    event: Event
    source: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """A connection has ended, or a device (`source` is 0 then); no more comes of it."""

    why: str
    source: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """What somebody typed and sent with Enter."""

    text: str


@dataclass(frozen=True, slots=True)
class Typing:
    """What stands in the line that is being typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ctrl-C."""


@dataclass(frozen=True, slots=True)
class End:
    """Ctrl-D, or the end of what is piped in."""


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """f32[n] in [-1, 1] at 24 kHz from the microphone; `at` is when its last sample was there."""

    samples: Array
    at: float


@dataclass(frozen=True, slots=True)
class Sounding:
    """The first sample of an item sounds at `at`, in seconds of the chat's clock."""

    item: str
    at: float


News: TypeAlias = Said | Lost | Line | Typing | Interrupt | End | Heard | Sounding
Put: TypeAlias = Callable[[News], None]
Inbox: TypeAlias = "queue.SimpleQueue[News]"
"""One thread gets, any puts, also a handler of signals."""


class Transport(Protocol):
    """A way to whoever answers. One thread uses it; what comes is put from any thread."""

    def open(self, put: Put) -> None:
        """Begins a new conversation; what was before is forgotten.

        Raises:
            OmnijetError: it cannot be reached, or refuses.
        """
        ...

    def send(self, event: Mapping[str, Any]) -> None:
        """Passes a client event on.

        Raises:
            OmnijetError: the connection has ended.
        """
        ...

    def close(self) -> None:
        """Ends the conversation. Harmless if repeated."""
        ...
