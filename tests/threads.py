"""The threads that omnijet starts during one test, whatever ran in this process before."""

from __future__ import annotations

import threading

_before: set[threading.Thread] = set()


def begin_test() -> None:
    """Remembers the threads that exist before a test; called for every test."""
    _before.clear()
    _before.update(_threads())


def new_threads() -> list[str]:
    """Returns the names of the live threads that omnijet has started in this test."""
    return sorted(one.name for one in _threads() - _before)


def _threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith("omnijet-")}
