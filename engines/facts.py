"""A number with its source, and the sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Fact:
    """A published number and the key of its source; None: not published, or not found."""

    value: float | None
    source: str


UNKNOWN = Fact(None, "")
