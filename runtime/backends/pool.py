"""A pool of things that are costly to make, kept between one use and the next."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Keeps the last few things that were given back; older ones are dropped.

    The pool has no lock: a thing comes back when its last reference is gone, which the garbage
    collector may notice at any point, also in the middle of `take`.

    Args:
        size: how many things are kept.
        size_per_key: how many of them may have the same key; None: all of them.
    """

    def __init__(self, size: int, size_per_key: int | None = None) -> None:
        self._size = size
        self._size_per_key = size if size_per_key is None else size_per_key
        self._idle: list[tuple[Hashable, T]] = []
        self._is_closed = False

    def give(self, thing: T, key: Hashable = None) -> None:
        """Takes a thing back; a closed pool drops it."""
        if self._is_closed:
            return
        self._idle.append((key, thing))
        for older in [pair for pair in self._idle if pair[0] == key][: -self._size_per_key]:
            with suppress(ValueError):  # another thread was quicker
                self._idle.remove(older)
        del self._idle[: -self._size]

    def take(self, key: Hashable = None) -> T | None:
        """Returns a thing of this key, which the caller alone then has; None if there is none."""
        for pair in self._idle[::-1]:
            if pair[0] == key:
                with suppress(ValueError):  # another thread was quicker
                    self._idle.remove(pair)
                    return pair[1]
        return None

    def close(self) -> None:
        """Drops everything, now and whatever is given back later."""
        self._is_closed = True
        self._idle.clear()
