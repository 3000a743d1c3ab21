"""Counts do not depend on the order in which ranges grow."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.quantization.numerics.histogram import BINS, Histogram


def counted(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part.astype(np.float32))
    return histogram


MAGNITUDES = np.abs(np.random.default_rng(0).standard_cauchy(5000)).astype(np.float32)


@pytest.mark.parametrize("order", [np.argsort(MAGNITUDES), np.argsort(-MAGNITUDES)])
def test_growing_gives_the_counts_of_counting_at_once(order: np.ndarray) -> None:
    grown, once = counted(*np.split(MAGNITUDES[order], 50)), counted(MAGNITUDES)
    assert grown.exponent == once.exponent
    np.testing.assert_array_equal(grown.counts, once.counts)


def test_bins_hold_what_numpy_says() -> None:
    histogram = counted(MAGNITUDES)
    edges = np.arange(BINS + 1) * histogram.bin_width
    np.testing.assert_array_equal(histogram.counts, np.histogram(MAGNITUDES, edges)[0])
    assert BINS // 2 < histogram.used <= BINS


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_merging_is_counting_both(scale: float) -> None:
    merged = counted(MAGNITUDES)
    other = counted(MAGNITUDES * scale)
    before = other.counts.copy()
    merged.merge(other)
    both = counted(MAGNITUDES, MAGNITUDES * scale)
    assert merged.exponent == both.exponent
    np.testing.assert_array_equal(merged.counts, both.counts)
    np.testing.assert_array_equal(other.counts, before)


def test_zeros_powers_of_two_and_the_extremes_fall_into_bins() -> None:
    info = np.finfo(np.float32)
    for magnitudes in ([0.0], [1.0, 0.5], [float(info.max), 0.0], [float(info.smallest_subnormal)]):
        histogram = counted(np.array(magnitudes))
        assert histogram.counts.sum() == len(magnitudes)
    assert counted(np.array([1.0])).used == BINS // 2 + 1


def test_nothing_is_counted_of_nothing() -> None:
    histogram = counted(np.empty(0))
    assert histogram.used == 0
