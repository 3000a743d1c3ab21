"""What values of a manifest may be: ranges and forms that annotate the fields of its records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

MOST_ITEMS = 10_000
"""Of any list or object."""


@dataclass(frozen=True, slots=True)
class Within:
    """The range of a number, ends included. NaN is in none."""

    least: float
    most: float

    def holds(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most)

    def __str__(self) -> str:
        return f"a number from {self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Like:
    """The form of a text.

    Attributes:
        pattern: a regular expression that the whole text must match.
        said: the form in words, for messages.
    """

    pattern: str
    said: str

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.said


@dataclass(frozen=True, slots=True)
class Long:
    """The length of a list."""

    items: int

    def holds(self, value: Any) -> bool:
        return len(value) == self.items

    def __str__(self) -> str:
        return f"{self.items} items"


def label(text: str, most: int = 255) -> str:
    """Returns a text as a `Label`: the name of a folder may hold anything."""
    return "".join(one if one.isprintable() else "_" for one in text)[:most] or "_"


@dataclass(frozen=True, slots=True)
class Name:
    """A text that a terminal may show: at most so many printable characters, and at least one."""

    most: int

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and 0 < len(value) <= self.most and value.isprintable()

    def __str__(self) -> str:
        return f"1 to {self.most} printable characters"


Few = Annotated[int, Within(1, 1 << 10)]  # layers, heads, mel bins, sides of patches
Size = Annotated[int, Within(1, 1 << 24)]  # widths and rows, as `config.json` may have them
Index = Annotated[int, Within(0, 1 << 24)]
Count = Annotated[int, Within(0, 1 << 50)]
Seconds = Annotated[float, Within(0, 1e9)]
Label = Annotated[str, Name(255)]
Sha256 = Annotated[str, Like("[0-9a-f]{64}", "64 hexadecimal digits")]
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}"
FileName = Annotated[
    str,
    Like(
        rf"{_PART}(/{_PART}){{0,7}}",
        "a path within the bundle: names of A-Z, a-z, 0-9, '.', '_' and '-' with '/' between",
    ),
]
"""A file of a bundle. One name has one spelling, on any disk and in any shell."""
