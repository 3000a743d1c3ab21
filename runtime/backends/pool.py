"""Things that were made at some cost, between one use and the next."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Keeps the last few that were given; an older one goes.

    It has no lock: things come back when nobody refers to them any longer, which may be in the
    midst of anything, of `take` too.

    Args:
        most: that are kept.
        alike: of these, of one key; None: all may be.
    """

    def __init__(self, most: int, alike: int | None = None) -> None:
        self._most, self._alike = most, most if alike is None else alike
        self._idle: list[tuple[Hashable, T]] = []

    def give(self, thing: T, key: Hashable = None) -> None:
        self._idle.append((key, thing))
        for older in [pair for pair in self._idle if pair[0] == key][: -self._alike]:
            with suppress(ValueError):  # another thread was quicker
                self._idle.remove(older)
        del self._idle[: -self._most]

    def take(self, key: Hashable = None) -> T | None:
        """One of this key, which is the caller's alone then."""
        for pair in self._idle[::-1]:
            if pair[0] == key:
                with suppress(ValueError):  # another thread was quicker
                    self._idle.remove(pair)
                    return pair[1]
        return None
