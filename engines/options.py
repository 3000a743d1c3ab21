"""How engines are built: choices of whoever builds them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Attributes:
    weight_streaming: the engine may keep weights in the host's memory and stream them.
    optimization_level: of the builder, 0 to 5; None: the library's own.
    """

    weight_streaming: bool = False
    optimization_level: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
