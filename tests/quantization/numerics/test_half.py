"""Numbers are rounded for the scales that are stored in 16 bits."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from omnijet.quantization.numerics.apply import change_of
from omnijet.quantization.numerics.rounding import SMALLEST_HALF, stored
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import Half, Scheme, WeightScheme, both

INT8 = Scheme(WeightScheme("int8", 64))
SCHEMES = (
    INT8,
    *(Scheme(weights) for weights in (
        WeightScheme("int4", 64), WeightScheme("int8", 64, symmetric=False),
        WeightScheme("int8", 64, scaling=True), WeightScheme("int8", 64, compensated=True),
    )),
    both("int8"), both("fp8"),
)  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_small_weights_lose_no_more_than_large_ones(scheme: Scheme) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((200, 128)).astype(np.float32)
    seen = Statistics(128, 0)
    seen.update(rows)
    weight = rng.standard_normal((128, 48)).astype(np.float32)

    def noise(size: float, half: Half) -> float:
        small = weight * np.float32(size)
        change = change_of(small, scheme, seen, None, half)
        scales = change.weight.scales
        if half:
            assert (scales == scales.astype(np.float16).astype(np.float32)).all()
        # as the graph holds them
        kept = replace(change.weight, scales=scales.astype(np.float16).astype(np.float32))
        return float(np.square(kept.dequantized() - small).mean()) / size**2

    assert noise(1e-4, "f16") < 1.5 * noise(1.0, "f16")
    if scheme == INT8:  # the loss if scales were rounded afterwards
        assert noise(1e-4, None) > 3 * noise(1.0, None)


def test_scales_stay_positive_and_those_too_large_as_they_are() -> None:
    kept = stored(np.float32([1e-12, 1.0, 1e6]), "f16")
    assert kept.tolist() == [SMALLEST_HALF, 1.0, 1e6]
    assert stored(np.float32([1e-12]), None).tolist() == [np.float32(1e-12)]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_scales_of_bf16_are_those_that_numbers_were_rounded_for(scheme: Scheme) -> None:
    """Scales rounded afterwards would move every number by up to 0.4 %."""
    rng = np.random.default_rng(5)
    seen = Statistics(128, 0)
    seen.update(rng.standard_normal((200, 128)).astype(np.float32))
    weight = rng.standard_normal((128, 48)).astype(np.float32)
    plain, kept = (change_of(weight, scheme, seen, None, half) for half in (None, "bf16"))
    scales = kept.weight.scales
    assert (scales == scales.astype(ml_dtypes.bfloat16).astype(np.float32)).all()
    assert (plain.weight.scales != scales).any()
    if kept.activation is not None:
        assert float(ml_dtypes.bfloat16(kept.activation.scale)) == kept.activation.scale
    losses = [np.square(one.weight.dequantized() - weight).mean() for one in (plain, kept)]
    assert losses[1] < 1.1 * losses[0]
