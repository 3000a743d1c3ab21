"""The interface of voice activity: sound in, beginnings and ends of speech out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from omnijet.runtime.bundle.contract import Array

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Pauses:
    """When speech counts as begun and as ended.

    Attributes:
        threshold: how sure a detector must be that somebody speaks, in (0, 1).
        prefix_ms: how much sound before the beginning belongs to the speech.
        silence_ms: how long a pause ends the speech.
        speech_ms: the shortest speech; what is shorter is a click or a cough.
    """

    threshold: float = 0.5
    prefix_ms: int = 300
    silence_ms: int = 500
    speech_ms: int = 96


@dataclass(frozen=True, slots=True)
class Edge:
    """A beginning or an end of speech.

    Attributes:
        kind: what was found.
        sample: at 16 kHz since the first sample pushed: where the speech begins, its prefix
            included, or where it ends, before the pause.
    """

    kind: Literal["started", "stopped"]
    sample: int


class Detector(Protocol):
    """Finds speech in a sound that goes on. One thread at a time uses it."""

    def push(self, samples: Array) -> list[Edge]:
        """Takes f32[n] in [-1, 1] at 16 kHz, of any length; returns what was found in it."""
        ...

    def reset(self) -> None:
        """Forgets the speech that it is in; samples are counted on."""
        ...
