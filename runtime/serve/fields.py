"""A JSON value of a stranger with the path that leads to it; faults are collected."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from omnijet.runtime.files.bounded import BadFile
from omnijet.runtime.files.json_text import parsed
from omnijet.runtime.serve.faults import ApiError

MOST_FAULTS = 8  # that are told
MOST_DEPTH = 32
MOST_LIKE = 100  # characters of a word that is compared with others, which takes long


@dataclass(slots=True)
class Faults:
    """What is wrong with a request, in the order in which it was found."""

    found: list[tuple[str, str, str | None]] = field(default_factory=list)

    def add(self, path: str, message: str, code: str | None = None) -> None:
        """Notes a fault of a field."""
        self.found.append((path, message, code))

    def __bool__(self) -> bool:
        return bool(self.found)

    def error(self) -> ApiError:
        """Returns the error to raise: it names the first field, and tells of several."""
        path, _, code = self.found[0]
        shown = [f"{where}: {message}" if where else message
                 for where, message, _ in self.found[:MOST_FAULTS]]  # fmt: skip
        more = len(self.found) - len(shown)
        if more:
            shown.append(f"and {more} more")
        return ApiError(400, "; ".join(shown), path or None, code)


@dataclass(frozen=True, slots=True)
class Node:
    """A value at its place. Each reader returns None after it noted a fault."""

    value: Any
    path: str
    faults: Faults

    def fault(self, message: str, code: str | None = None) -> None:
        """Notes a fault of this value."""
        self.faults.add(self.path, message, code)

    def at(self, key: str) -> Node:
        """Returns a field of an object; its value is None if it is absent or null."""
        path = f"{self.path}.{key}" if self.path else key
        return Node(self.value.get(key), path, self.faults)

    @property
    def is_given(self) -> bool:
        """Whether there is a value: null is as good as none."""
        return self.value is not None

    def is_object(self) -> bool:
        """Whether it is an object; else that is noted."""
        return self._is(Mapping, "an object")

    def text(self, most: int | None = None) -> str | None:
        """Returns a string of at most so many characters."""
        if not self._is(str, "a string"):
            return None
        if most is not None and len(self.value) > most:
            self.fault(f"expected at most {most:,} characters, got {len(self.value):,}")
            return None
        found: str = self.value
        return found

    def flag(self) -> bool | None:
        """Returns true or false."""
        return bool(self.value) if self._is(bool, "true or false") else None

    def whole(self, least: int, most: int | None = None) -> int | None:
        """Returns a whole number within limits."""
        value = self.value
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < least or (most is not None and value > most):
            upper = "" if most is None else f" to {most}"
            self.fault(f"expected a whole number from {least}{upper}, got {shown(value)}")
            return None
        return int(value)

    def number(self, least: float, most: float) -> float | None:
        """Returns a number within limits, both included."""
        value = self.value
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not least <= value <= most:
            self.fault(f"expected a number from {least:g} to {most:g}, got {shown(value)}")
            return None
        return float(value)

    def choice(self, known: Collection[str]) -> str | None:
        """Returns one of the known words."""
        value = self.value
        if not isinstance(value, str) or value not in known:
            hint = _meant(value, known)
            self.fault(f"expected one of {', '.join(known)}; got {shown(value)}{hint}")
            return None
        return value

    def items(self, least: int = 0, most: int = 10_000) -> Iterator[Node]:
        """Yields the items of a list."""
        if not self._is(list, "a list"):
            return
        if not least <= len(self.value) <= most:
            self.fault(f"expected a list of {least} to {most:,} items, got {len(self.value):,}")
            return
        for number, item in enumerate(self.value):
            yield Node(item, f"{self.path}[{number}]", self.faults)

    def check_keys(self, known: Collection[str], refused: Mapping[str, str] | None = None) -> None:
        """Notes fields of an object that are unknown, or known and not supported.

        Args:
            refused: fields that others support, and why we do not; null is no use of one.
        """
        for key, value in self.value.items():
            if key in known:
                continue
            where = f"{self.path}.{key}" if self.path else key
            if refused is not None and key in refused:
                if value is not None:
                    self.faults.add(where, refused[key], "unsupported_parameter")
                continue
            hint = _meant(key, known) if len(self.faults.found) < MOST_FAULTS else ""
            self.faults.add(where[:200], f"there is no such field{hint}", "unknown_parameter")

    def _is(self, kind: type, wanted: str) -> bool:
        if isinstance(self.value, kind):
            return True
        self.fault(f"expected {wanted}, got {shown(self.value)}", "invalid_type")
        return False


def _meant(word: Any, known: Collection[str]) -> str:
    """Returns a hint at what a word was to be, if it is like one; a long one is like none."""
    if not isinstance(word, str) or len(word) > MOST_LIKE:
        return ""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: Any) -> str:
    """Returns a value for a message: its kind, or itself if it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def root_of(body: bytes) -> Node:
    """Parses the body of a request as an object.

    Raises:
        ApiError: it is none.
    """
    try:
        value = parsed(body, MOST_DEPTH)
    except BadFile as error:
        raise ApiError(400, f"the body is no JSON: {error}", code="invalid_json") from None
    node = Node(value, "", Faults())
    if not node.is_object():
        raise ApiError(400, f"the body must be an object, not {shown(value)}", code="invalid_json")
    return node
