"""How many people an assistant serves at once, and how much each may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one assistant. Threads: any thread may use it; it never changes.

    Attributes:
        turns: replies that are made side by side; each holds KV caches.
        waiting: turns that wait for a place at most; one more is refused.
        wait_s: how long a turn waits before it is refused, in seconds.
        sessions: conversations that are open at once.
        pooled: conversations of single requests whose caches are kept for the next request; they
            count as open, and go first when there is no room.
        idle_s: after how many seconds without a turn a session's caches are dropped.
        turn_s: the longest that a reply may take, in seconds.
        media_s: the longest sound or clip, in seconds.
        pixels: the largest picture.
        seen_pixels: what the model reads of a picture; larger ones are made smaller. A token takes
            784 of them.
    """

    turns: int = 8
    waiting: int = 64
    wait_s: float = 30.0
    sessions: int = 64
    pooled: int = 8
    idle_s: float = 300.0
    turn_s: float = 300.0
    media_s: float = 300.0
    pixels: int = 40_000_000
    seen_pixels: int = 1_605_632
