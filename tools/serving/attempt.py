"""One thing that no client should send, and what a server may answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from tools.serving.raw import Answer
from tools.serving.service import Service


class Wrong(Exception):
    """The server did what it must not; the message says what."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One malformed request.

    Attributes:
        name: what is wrong with it, for people.
        run: sends it and returns in a word how the server took it; raises `Wrong`.
    """

    name: str
    run: Callable[[Service], Awaitable[str]]


Maker = Callable[[Random, int], Attempt]
"""Makes one attempt of its kind from a random generator and its number within the kind."""


def told(answer: Answer, field: str | None = None, allowed: Iterable[int] = range(400, 500)) -> str:
    """Returns the status of a refusal, which must say in JSON what is wrong.

    Args:
        field: what the refusal must name.

    Raises:
        Wrong: it is no such refusal.
    """
    if answer.status not in allowed:
        raise Wrong(f"status {answer.status or 'none'}: {answer.body[:300]!r}")
    try:
        error = answer.json()["error"]
        fault = unclear(error, field)
    except (ValueError, KeyError, TypeError):
        fault = f"no error in JSON: {answer.body[:200]!r}"
    if fault:
        raise Wrong(f"status {answer.status}: {fault}")
    return str(answer.status)


def unclear(error: Any, field: str | None) -> str | None:
    """Returns what an error of the API lacks; None: nothing."""
    if not isinstance(error, dict):
        return f"no object: {error!r}"
    message, kind = error.get("message"), error.get("type")
    if not isinstance(message, str) or not message or not isinstance(kind, str):
        return f"no message or no type: {error}"
    if field is not None and not _names(field, f"{error.get('param')} {message}"):
        return f"{field} is not named: {error}"
    return None


def _names(field: str, text: str) -> bool:
    return re.search(rf"(?<![a-z_]){re.escape(field)}(?![a-z_])", text) is not None
