"""Damages bytes and JSON in the ways that downloads, disks and hand edits do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

MOST_DAMAGES = 4
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, float("inf"),
    float("nan"), "", "0", "x" * 300, "\ud800", "../../x", "\0", [], {}, [[]], [None], {"": 0},
    [1, 2, 3], "qwen2_5_omni", "float16",
    10**30, [0] * 5000, {"x" * 2000: {}},
)  # fmt: skip


def damaged(content: bytes, rng: Random) -> bytes:
    """Returns the content with one damage or a few; it may be empty."""
    made = bytearray(content)
    for _ in range(rng.randint(1, MOST_DAMAGES)):
        rng.choice(_DAMAGES)(made, rng)
    return bytes(made)


def changed(data: Any, rng: Random) -> Any:
    """Returns parsed JSON with one value or a few replaced, taken out, renamed or repeated."""
    made = copy.deepcopy(data)
    for _ in range(rng.randint(1, MOST_DAMAGES)):
        places = list(_places(made))
        if not places:
            return rng.choice(VALUES)
        _change(*rng.choice(places), rng)
    return made


def _place(made: bytearray, rng: Random) -> int:
    """Returns a place; half of the damages fall into the header."""
    end = max(1, len(made))
    return rng.randrange(min(end, 128) if rng.random() < 0.5 else end)


def _flip(made: bytearray, rng: Random) -> None:
    if made:
        made[_place(made, rng)] ^= 1 << rng.randrange(8)


def _overwrite(made: bytearray, rng: Random) -> None:
    place, width = _place(made, rng), rng.choice((1, 2, 4, 8))
    number = rng.choice(NUMBERS)
    made[place : place + width] = (number & (2 ** (8 * width) - 1)).to_bytes(
        width, rng.choice(("little", "big"))
    )


def _noise(made: bytearray, rng: Random) -> None:
    place, length = _place(made, rng), rng.randint(1, 64)
    made[place : place + length] = rng.randbytes(length)


def _blank(made: bytearray, rng: Random) -> None:
    place, length = _place(made, rng), rng.randint(1, 4096)
    made[place : place + length] = bytes(len(made[place : place + length]))


def _cut(made: bytearray, rng: Random) -> None:
    del made[_place(made, rng) :]


def _drop(made: bytearray, rng: Random) -> None:
    place = _place(made, rng)
    del made[place : place + rng.randint(1, 256)]


def _repeat(made: bytearray, rng: Random) -> None:
    place = _place(made, rng)
    made[place:place] = made[place : place + rng.randint(1, 256)]


_DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip, _flip, _overwrite, _overwrite, _noise, _blank, _cut, _drop, _repeat,
)  # fmt: skip


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Returns every container with each of its keys."""
    found: list[tuple[Any, Any]] = []
    keys: list[Any] = []
    if isinstance(data, dict):
        keys = list(data)
    elif isinstance(data, list):
        keys = list(range(len(data)))
    for key in keys:
        found.append((data, key))
        found.extend(_places(data[key]))
    return found


def _change(container: Any, key: Any, rng: Random) -> None:
    kind = rng.choice(("replace", "replace", "nudge", "remove", "rename", "copy"))
    value = container[key]
    if kind == "nudge" and isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = rng.choice((value + 1, value - 1, -value, value * 2, value * 10**9))
    elif kind == "remove":
        del container[key]
    elif kind == "rename" and isinstance(container, dict):
        container[rng.choice((key + "s", key[:-1], key.upper()))] = container.pop(key)
    elif kind == "copy":
        other, place = rng.choice(_places(container))
        container[key] = copy.deepcopy(other[place])
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))
