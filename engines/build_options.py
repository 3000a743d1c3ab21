"""How engines are built: choices of whoever builds them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LEVELS = range(6)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Attributes:
    optimization_level: of the builder, one of `LEVELS`; None: the library's own.
    """

    optimization_level: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
