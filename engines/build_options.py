"""Options of a build, chosen by the user."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LEVELS = range(6)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options of the library's builder.

    Attributes:
        optimization_level: one of `LEVELS`; None: the library's default.
    """

    optimization_level: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
