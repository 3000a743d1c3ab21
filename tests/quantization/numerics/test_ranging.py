"""Ranges equal those of plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnijet.quantization.numerics.histogram import Histogram
from omnijet.quantization.numerics.ranging import (
    FINE_BINS,
    _reaches,
    entropy_range,
    mse_range,
    percentile_range,
)
from omnijet.quantization.numerics.rounding import LARGEST, round_activation
from omnijet.quantization.schemes import EightBits


def drawn(outliers: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal(200_000)
    rows[:outliers] = rng.uniform(20, 40, outliers)
    return rows.astype(np.float32)


def histogram_of(rows: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(np.abs(rows))
    return histogram


def test_percentile_is_numpys_to_a_bin() -> None:
    rows = drawn(5)
    histogram = histogram_of(rows)
    expected = np.percentile(np.abs(rows), 99.99)
    assert abs(percentile_range(histogram) - expected) <= 2 * histogram.bin_width


@pytest.mark.parametrize("outliers", [0, 20, 2000])
@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_mse_is_as_good_as_the_best_range_for_the_numbers_themselves(
    outliers: int, dtype: EightBits
) -> None:
    rows = drawn(outliers)[:: 1 if outliers == 20 else 4]

    def error(reach: float) -> float:
        return float(((round_activation(rows, dtype, reach / LARGEST[dtype]) - rows) ** 2).mean())

    largest = float(np.abs(rows).max())
    best = min(error(reach) for reach in np.geomspace(largest / 20, largest, 60))
    assert error(mse_range(histogram_of(rows), dtype)) < 1.03 * best


def entropy_the_long_way(counts: list[int]) -> int:
    """Runs ModelOpt's loops over possible ranges, for levels k - 1/2 to k + 1/2 of 127."""
    counts = [counts[1], *counts[1:]]
    best, least = 0, math.inf
    for reach in _reaches(len(counts)):
        seen = list(counts[:reach])
        seen[-1] += sum(counts[reach:])
        members: dict[int, list[int]] = {}
        for index in range(reach):
            if counts[index]:
                level = round((index + 0.5) * 127 / reach)
                members.setdefault(level, []).append(index)
        kept = [0.0] * reach
        for indices in members.values():
            for index in indices:
                kept[index] = sum(counts[i] for i in indices) / len(indices)
        if seen[-1] and not kept[-1]:
            continue
        divergence = sum(
            p / sum(seen) * math.log((p / sum(seen)) / (q / sum(kept)))
            for p, q in zip(seen, kept, strict=True)
            if q
        )
        if divergence <= least:
            best, least = reach, divergence
    return best


@pytest.mark.parametrize("outliers", [0, 20])
def test_entropy_is_what_plain_loops_find(outliers: int) -> None:
    histogram = histogram_of(drawn(outliers))
    width = len(histogram.counts) // FINE_BINS
    counts = histogram.counts.reshape(-1, width).sum(axis=1)
    used = -(-histogram.used // width)
    expected = entropy_the_long_way(counts[:used].tolist()) * width * histogram.bin_width
    assert entropy_range(histogram, "int8") == pytest.approx(expected)


def test_entropy_gives_up_few_outliers_and_no_bulk() -> None:
    assert 3 < entropy_range(histogram_of(drawn(20)), "int8") < 10
    uniform = np.random.default_rng(0).uniform(-1, 1, 200_000).astype(np.float32)
    assert entropy_range(histogram_of(uniform), "int8") > 0.95


def test_zeros_do_not_outvote_the_rest() -> None:
    rows = drawn(0)
    padded = np.concatenate([rows, np.zeros(10 * len(rows), np.float32)])
    assert entropy_range(histogram_of(padded), "int8") == entropy_range(histogram_of(rows), "int8")
