"""Percentiles."""

from __future__ import annotations

from omnijet.runtime.profiling.percentiles import Percentiles


def test_percentiles_interpolate() -> None:
    assert Percentiles.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Percentiles(5, 1.0, 3.0, 4.6, 4.96, 5.0)
