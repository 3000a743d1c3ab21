"""What recipes and presets cost in quality, as measured on Omnijet-nano."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from omnijet.deployment.planner.plan import FLOATS

Fidelity = Literal["any", "good", "best"]

SAME_CODES: Mapping[str, float] = {
    FLOATS: 100.0, "orin-int8": 99.7, "cpu-int8": 99.8, "orin-int4": 97.9, "ada-fp8": 99.5,
}  # fmt: skip
"""Recipe -> percent of codes whose most likely one is that of the float bundle. Other recipes have
the decoders of one of these. Source: BENCHMARKS.md, quantization."""
DECODERS_OF = {"orin": "orin-int4", "thor-fp8": "orin-int4", "cpu-int4": "orin-int4"}
"""Recipe -> one that rounds the Talker alike, or in blocks twice as long (`cpu-int4`)."""
WAVE_DB: Mapping[str, float] = {"exact": 52.4, "balanced": 29.0, "fast": 14.3, "reference": 53.8}
"""Preset -> decibels between its wave and the exact one, median of 60 replies. The word error rate
is the same for all of them. Source: BENCHMARKS.md, streamed speech."""

LEAST: Mapping[Fidelity, tuple[float, float]] = {
    "any": (0.0, 0.0), "good": (97.0, 25.0), "best": (99.0, 50.0),
}  # fmt: skip
"""Fidelity -> the fewest percent of same codes, and the fewest decibels."""


def same_codes(recipe: str) -> float | None:
    """Returns the percent of codes that a recipe leaves as they were; None: not measured."""
    return SAME_CODES.get(DECODERS_OF.get(recipe, recipe))


def is_enough(fidelity: Fidelity, recipe: str, preset: str) -> bool:
    """Returns whether a recipe and a preset keep what is asked for.

    What was not measured keeps nothing.
    """
    codes, decibels = LEAST[fidelity]
    return (same_codes(recipe) or 0.0) >= codes and WAVE_DB[preset] >= decibels
