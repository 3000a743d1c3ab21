"""Figures of a device: what the plan predicted, and what the profile and the build measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        predicted, measured: None: nobody has.
    """

    name: str
    unit: str
    predicted: float | None
    measured: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def row(self) -> tuple[str, str, str, str]:
        return self.name, _text(self.predicted), _text(self.measured), self.unit


def figures(
    plan: Mapping[str, Any], profile: Mapping[str, Any], built: Mapping[str, int] | None = None
) -> tuple[Figure, ...]:
    """Returns what is known of a device; what was both predicted and measured comes first.

    Args:
        plan: as `omnijet plan --format json` prints it; empty: there is none.
        profile: as `omnijet profile --format json` prints it; empty: there is none.
        built: the bytes of each engine.
    """
    measured, predicted = _measured(profile), _predicted(plan)
    for graph, size in (built or {}).items():
        measured[_engine(graph)] = size / 1e6
    found = [
        Figure(name, unit, predicted.get((name, unit)), measured.get((name, unit)))
        for name, unit in dict.fromkeys([*predicted, *measured])
    ]
    return tuple(sorted(found, key=lambda one: None in (one.predicted, one.measured)))


def _engine(graph: str) -> tuple[str, str]:
    return f"engine of {graph}", "MB"


def _measured(profile: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Returns the medians of a profile by (name, unit)."""
    found: dict[tuple[str, str], float] = {}
    scenarios = profile.get("scenarios")
    for name, result in (scenarios if isinstance(scenarios, dict) else {}).items():
        for kind, unit in (("latency_ms", "ms"), ("rates", "")):
            values = _object(_object(result).get(kind))
            for what, percentiles in values.items():
                value = _object(percentiles).get("p50")
                if isinstance(value, int | float):
                    found[f"{name}: {what.replace('_', ' ')}", unit] = float(value)
    return found


PLANNED = {
    ("first_pcm_s",): ("question: first pcm", "ms", 1e3),
    ("speeds", "decode"): ("question: text tokens per s", "", 1.0),
    ("speeds", "talker"): ("question: codes per s", "", 1.0),
    ("speeds", "real-time factor"): ("question: rtf", "", 1.0),
}
"""Where a plan has a figure -> the name and unit that a profile gives it, and what it is times. A
plan is made for a spoken question of 5 s, which is the scenario `question` of a profile."""


def _predicted(plan: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Returns the figures of a plan (`omnijet.deployment.planner.plan`) by (name, unit)."""
    found = {}
    for path, (name, unit, times) in PLANNED.items():
        part: Any = plan
        for key in path:
            part = _object(part).get(key)
        value = _object(part).get("value")
        if isinstance(value, int | float):
            found[name, unit] = times * value
    for graph, one in _object(plan.get("disk_bytes")).items():
        size = _object(one).get("value")
        is_predicted = _object(one).get("is") == "predicted"
        if isinstance(size, int | float) and is_predicted and graph != "tables":
            found[_engine(graph)] = size / 1e6
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
