"""Runs checks one after the other, each within a time of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from omnijet.runtime.doctor.finding import Finding, unknown
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.files.printable import one_line

LIMIT_S = 40.0
"""More than any tool or library may take that a check asks."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: what is looked at, for people.
        look: returns what was found, without a name; None: it does not matter on this machine.
    """

    name: str
    look: Callable[[Here], Finding | None]


def examine(
    checks: Iterable[Check],
    here: Here,
    limit_s: float = LIMIT_S,
    tell: Callable[[str], object] = lambda name: None,
) -> list[Finding]:
    """Runs checks. Whatever one does, the others are run and all end.

    Args:
        limit_s: the time of a check.
        tell: called with the name of each check before it.
    """
    found = []
    for check in checks:
        tell(check.name)
        done = within(limit_s, lambda look=check.look: look(here))  # type: ignore[misc]
        if done.error is not None:
            text = one_line(f"{type(done.error).__name__}: {done.error}")
            finding: Finding | None = unknown(f"the check failed: {text}", private=(text,))
        elif not done.ended:
            finding = unknown(f"no answer within {limit_s:g} s")
        else:
            finding = done.result
        if finding is not None:
            found.append(finding.named(check.name))
    return found


@dataclass(slots=True)
class Done(Generic[T]):
    """How a call within a time went.

    Attributes:
        result: what it returned, if it ended without an error.
    """

    ended: bool = False
    result: T | None = None
    error: Exception | None = None


def within(limit_s: float, call: Callable[[], T]) -> Done[T]:
    """Calls something in a thread of its own, and stops waiting for it after a while.

    A read of a broken disk or driver can hang in the kernel, where nothing ends it: the thread is
    left behind then, and does not keep the process.
    """
    done: Done[T] = Done()

    def work() -> None:
        try:
            done.result = call()
        except Exception as error:
            done.error = error
        done.ended = True

    thread = threading.Thread(target=work, name="omnijet-doctor", daemon=True)
    thread.start()
    thread.join(limit_s)
    # what comes later is not looked at: the caller has gone on
    return Done(done.ended, done.result, done.error) if done.ended else Done()
