"""Bins hold every sample, and one hiccup does not squeeze them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnijet.runtime.profiling.distribution import Histogram


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=300))
def test_every_sample_is_counted_once(samples: list[float]) -> None:
    found = Histogram.of(samples)
    assert sum(found.counts) + found.above == len(samples)
    assert len(found.edges) == len(found.counts) + 1
    assert list(found.edges) == sorted(set(found.edges))
    assert found.edges[0] == min(samples)


def test_a_hiccup_lies_above_the_bins() -> None:
    found = Histogram.of([100.0, 101.0, 102.0, 103.0, 90_000.0])
    assert found.above == 1 and found.edges[-1] == pytest.approx(3 * 102)


def test_equal_samples_fill_one_bin() -> None:
    found = Histogram.of([7.0] * 20)
    assert sorted(found.counts)[-2:] == [0, 20] and found.above == 0
