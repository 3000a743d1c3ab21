"""Axes have round ticks, and numbers have three digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnijet.runtime.profiling.svg import short, ticks


@given(st.floats(1e-6, 1e9))
def test_ticks_are_few_round_and_inside(end: float) -> None:
    found = ticks(end)
    assert 4 <= len(found) <= 9 and found[0] == 0 and found[-1] <= end * (1 + 1e-6)
    digits = f"{found[1]:e}".split("e")[0]
    assert digits in ("1.000000", "2.000000", "5.000000")


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (9.87, "9.87"), (98.7, "98.7"), (98765.4, "98,765")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text
