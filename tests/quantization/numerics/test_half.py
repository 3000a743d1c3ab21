"""Scales that are stored in f16 are those that numbers were rounded for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantization.numerics.apply import change_of
from quantization.numerics.rounding import SMALLEST_HALF, stored
from quantization.numerics.statistics import Statistics
from quantization.schemes import Scheme, Static, WeightOnly

INT8 = WeightOnly(8, 64)
SCHEMES = (
    INT8, WeightOnly(4, 64), replace(INT8, symmetric=False), replace(INT8, scaling=True),
    replace(INT8, compensated=True), Static("int8"), Static("fp8"),
)  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_small_weights_lose_no_more_than_large_ones(scheme: Scheme) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((200, 128)).astype(np.float32)
    seen = Statistics(128, 0)
    seen.update(rows)
    weight = rng.standard_normal((128, 48)).astype(np.float32)

    def noise(size: float, half: bool) -> float:
        small = weight * np.float32(size)
        change = change_of(small, scheme, seen, None, half)
        scales = change.weight.scales
        if half:
            assert (scales == scales.astype(np.float16).astype(np.float32)).all()
        # as the graph holds them
        kept = replace(change.weight, scales=scales.astype(np.float16).astype(np.float32))
        return float(np.square(kept.dequantized() - small).mean()) / size**2

    assert noise(1e-4, True) < 1.5 * noise(1.0, True)
    if scheme == INT8:  # what the rounding of scales afterwards would lose
        assert noise(1e-4, False) > 3 * noise(1.0, False)


def test_scales_stay_positive_and_those_too_large_as_they_are() -> None:
    kept = stored(np.float32([1e-12, 1.0, 1e6]), True)
    assert kept.tolist() == [SMALLEST_HALF, 1.0, 1e6]
    assert stored(np.float32([1e-12]), False).tolist() == [np.float32(1e-12)]
