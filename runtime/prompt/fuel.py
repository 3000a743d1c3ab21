"""What the rendering of a template may use: units of time and memory, counted before they are used.

No clock is read: a template that is refused on a slow machine is refused on a fast one, too. A unit
is about a character; what makes more of something than it is given is counted beforehand.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

ITEM = 8  # units of a place in a container
OPERATION = 120  # of a call, a filter, a test or an operator
MOST_DEPTH = 64  # of containers within each other
MOST_BITS = 1024  # of a whole number
MOST_DIGITS = 4  # of a width within a pattern
COPIES = 15  # units per character where each becomes an object, or is compared often


class TooMuch(Exception):
    """A template that works for too long, or makes too much."""


class _Tank(threading.local):
    left = 0


_tank = _Tank()


@contextmanager
def fuelled(units: int) -> Iterator[None]:
    """Lets this thread spend so much within the block."""
    before, _tank.left = _tank.left, units
    try:
        yield
    finally:
        _tank.left = before


def spend(units: int) -> None:
    """Spends units.

    Raises:
        TooMuch: none are left.
    """
    _tank.left -= units
    if _tank.left < 0:
        raise TooMuch("it takes too long, or makes too much text")


def spend_on(*values: object) -> None:
    """Spends what values weigh, before something goes through them."""
    for value in values:
        spend(weight(value))


def weight(value: Any) -> int:
    """Returns the characters and items of a value, as often as they would be written.

    Raises:
        TooMuch: there are more than units are left, or containers are too deep.
    """
    if isinstance(value, str):
        return 1 + len(value)
    if value is None or isinstance(value, (bool, float)):
        return 1
    total, most, depth = 0, _tank.left, 0
    level: list[Any] = [value]
    while level:
        deeper: list[Any] = []
        for one in level:
            if isinstance(one, str):
                total += ITEM + len(one)
                continue
            kind = type(one)  # to ask a namespace for its class takes long
            total += _own_weight(one, kind)
            if total > most:
                raise TooMuch("it takes too long, or makes too much text")
            if issubclass(kind, dict):
                deeper += one
                deeper += one.values()
            elif issubclass(kind, _CONTAINERS):
                deeper += one
        if total > most:
            raise TooMuch("it takes too long, or makes too much text")
        level, depth = deeper, depth + 1
        if depth > MOST_DEPTH:
            raise TooMuch(f"it makes lists within lists, more than {MOST_DEPTH}")
    return total


def _own_weight(one: Any, kind: type) -> int:
    if issubclass(kind, int):
        if one.bit_length() > MOST_BITS:
            raise TooMuch(f"it makes a whole number of more than {MOST_BITS} bits")
        return ITEM
    if issubclass(kind, dict):
        return ITEM * (1 + 2 * len(one))
    return ITEM * (1 + len(one)) if issubclass(kind, (*_CONTAINERS, range)) else ITEM


_VIEWS: tuple[Any, ...] = ({}.keys(), {}.values(), {}.items())
_CONTAINERS = (list, tuple, set, frozenset, *map(type, _VIEWS))


def spend_on_operator(operator: str, left: Any, right: Any) -> None:
    """Spends what an operator between two values will make."""
    spend_on(left, right)
    spend(OPERATION)
    if operator == "%" and isinstance(left, str):
        spend_on_pattern(left, right, "%")
    elif operator == "*":
        for one, times in ((left, right), (right, left)):
            if isinstance(times, int) and not isinstance(one, (int, float)):
                spend(weight(one) * max(times, 0))
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        spend_on(1 << min(left.bit_length() * max(right, 0), 2 * MOST_BITS))


def spend_on_pattern(pattern: str, given: object, mark: str) -> None:
    """Spends what a pattern like `"%5s"` or `"{:5}"` will write.

    Args:
        mark: what each field begins with.
    """
    if re.search(r"\d" * (MOST_DIGITS + 1) + r"|%[^%a-zA-Z]*\*|:[^{}]*\{", pattern):
        raise TooMuch(f"it has a pattern with a width of more than {MOST_DIGITS} digits, or an own")
    widest = max(map(int, re.findall(r"\d+", pattern)), default=0)
    spend(len(pattern) + pattern.count(mark) * (widest + weight(given)))


def spend_on_named(name: str, value: Any, given: Sequence[Any]) -> None:
    """Spends what a filter, or a method of a string, will make of a value."""
    spend(OPERATION)
    spend_on(value, *given)
    if (units := _GROWTH.get(name)) is not None:
        spend(units(value, given))


def _whole(value: Any) -> int:
    return abs(value) if isinstance(value, int) else 0


def _padded(value: Any, given: Sequence[Any]) -> int:
    return sum(map(_whole, given))


def _indented(value: Any, given: Sequence[Any]) -> int:
    wide = max((len(one) if isinstance(one, str) else _whole(one) for one in given), default=4)
    return wide * (1 + str(value).count("\n"))


def _joined(value: Any, given: Sequence[Any]) -> int:
    """Serves `list|join(text)` and `text.join(list)`."""
    one, other = len(value), len(given[0]) if given and isinstance(given[0], Sequence) else 0
    return one * other


def _replaced(value: Any, given: Sequence[Any]) -> int:
    old, new = (str(one) for one in given[:2])
    return (1 + str(value).count(old)) * len(new)


def _formatted(value: Any, given: Sequence[Any]) -> int:
    for mark in "%{":
        spend_on_pattern(str(value), given, mark)
    return 0


def _as_json(value: Any, given: Sequence[Any]) -> int:
    """Returns the units of indents, commas and colons; a bool is no indent."""
    wide = sum(weight(one) + ITEM * _whole(one) for one in given if not isinstance(one, bool))
    return wide * weight(value)


def _summed(value: Any, given: Sequence[Any]) -> int:
    """A sum of lists copies all before each."""
    return weight(value) * len(value) if any(not isinstance(one, str) for one in given) else 0


def _copied(value: Any, given: Sequence[Any]) -> int:
    return COPIES * weight(value)


_GROWTH: dict[str, Callable[[Any, Sequence[Any]], int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    **dict.fromkeys(
        (
            "list",
            "sort",
            "unique",
            "groupby",
            "dictsort",
            "split",
            "rsplit",
            "splitlines",
            "wordcount",
            "urlencode",
            "escape",
            "e",
            "forceescape",
            "min",
            "max",
        ),
        _copied,
    ),
    "round": lambda value, given: 100 * _padded(value, given),
    "indent": _indented,
    "join": _joined,
    "replace": _replaced,
    "format": _formatted,
    "format_map": _formatted,
    "tojson": _as_json,
    "sum": _summed,
}
"""What grows, or copies, or compares several times: by the name of a filter or method."""
