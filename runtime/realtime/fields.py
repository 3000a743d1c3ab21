"""Reads the objects of clients field by field: what nobody asked for is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omnijet.runtime.realtime.fault import Fault, shown

MOST_TEXT = 1 << 18
"""Characters of one text of a client."""


class Fields:
    """One object. A field that is read is known; `end` refuses all others.

    Args:
        value: parsed JSON of unknown make.
        path: where it stands in the event; "" is the event itself.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, Mapping):
            raise Fault(f"expected an object, got {_kind(value)}", "invalid_type", path or None)
        self._value, self._path = value, path
        self._known: set[str] = set()

    def path(self, name: str) -> str:
        """Returns the path of a field."""
        return f"{self._path}.{name}" if self._path else name

    def names(self) -> list[str]:
        """Returns the names of all fields."""
        return [str(name) for name in self._value]

    def given(self, name: str) -> bool:
        """Whether the field is there; null counts."""
        self._known.add(name)
        return name in self._value

    def take(self, name: str) -> Any:
        """Returns the field as it is; None if it is missing."""
        self._known.add(name)
        return self._value.get(name)

    def need(self, name: str) -> Any:
        """Returns the field as it is. Raises `Fault` if it is missing or null."""
        value = self.take(name)
        if value is None:
            path = self.path(name)
            raise Fault(f"{path} is missing", "missing_required_parameter", path)
        return value

    def text(self, name: str, most: int = MOST_TEXT) -> str:
        """Returns a string that has to be there."""
        value = self.need(name)
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        if len(value) > most:
            raise Fault(
                f"{self.path(name)} has {len(value):,} characters, more than {most:,}",
                "string_above_max_length", self.path(name),
            )  # fmt: skip
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Returns one of some words, which has to be there."""
        value = self.need(name)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, " or ".join(map(repr, choices)))
        return value

    def flag(self, name: str) -> bool:
        """Returns true or false, which has to be there."""
        value = self.need(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str, least: float, most: float) -> float:
        """Returns a number within bounds, which has to be there."""
        value = self.need(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            raise self.wrong(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def whole(self, name: str, least: int, most: int) -> int:
        """Returns a whole number within bounds, which has to be there."""
        value = self.number(name, least, most)
        if value != int(value):
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return int(value)

    def child(self, name: str) -> Fields | None:
        """Returns an object; None if it is missing or null."""
        value = self.take(name)
        return None if value is None else Fields(value, self.path(name))

    def items(self, name: str, most: int) -> list[Fields]:
        """Returns the objects of a list that has to be there."""
        value = self.need(name)
        path = self.path(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        if len(value) > most:
            raise Fault(
                f"{path} has {len(value)} items, more than {most}", "array_above_max_length", path
            )
        return [Fields(one, f"{path}[{number}]") for number, one in enumerate(value)]

    def only(self, name: str, allowed: Sequence[Any], why: str) -> None:
        """Refuses every other value of a field; it may be missing."""
        if not self.given(name):
            return
        value = self.take(name)
        if not any(value is one or (value == one and type(value) is type(one)) for one in allowed):
            raise Fault(
                f"{self.path(name)} {shown(value)} is not supported: {why}",
                "unsupported_value", self.path(name),
            )  # fmt: skip

    def wrong(self, name: str, expected: str) -> Fault:
        """Returns the fault of a field's value."""
        path = self.path(name)
        return Fault(
            f"{path}: expected {expected}, got {shown(self._value.get(name))}",
            "invalid_value", path,
        )  # fmt: skip

    def end(self, hints: Mapping[str, str] | None = None) -> None:
        """Raises `Fault` about a field that nobody knows.

        Args:
            hints: what to say about fields of older forms of the API.
        """
        for name in self._value:
            if name in self._known:
                continue
            path = self.path(str(name)[:100])
            hint = (hints or {}).get(name)
            raise Fault(
                f"unknown parameter {path!r}" + (f": {hint}" if hint else ""),
                "unknown_parameter", path,
            )  # fmt: skip


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
