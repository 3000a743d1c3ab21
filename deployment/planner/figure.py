"""A number with what it is worth: predicted, measured or published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Worth = Literal["predicted", "measured", "published", "estimated"]
"""`estimated`: neither measured nor computed from what was; `predicted`: computed from figures that
were measured or published."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, its unit, and what it is worth."""

    value: float
    unit: str
    worth: Worth = "predicted"

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "unit": self.unit, "is": self.worth}
