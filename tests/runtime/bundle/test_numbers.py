"""Values that are not finite are found in every dtype, by their bits."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from omnijet.runtime.bundle import numbers
from omnijet.runtime.bundle.numbers import Odd

DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_of_a_dtype(dtype: str) -> None:
    bits = np.dtype(numbers.EXPONENTS[dtype][0])
    spread = np.random.default_rng(0).integers(0, np.iinfo(bits).max, 70_000, bits, endpoint=True)
    every = np.arange(2 ** (8 * bits.itemsize)).astype(bits) if bits.itemsize < 4 else spread
    limits = np.array([np.nan, np.inf, -np.inf, 0, 1]).astype(DTYPES[dtype]).view(bits)
    stored = np.concatenate([every, limits])
    with np.errstate(invalid="ignore"):  # NaNs that signal
        expected = ~np.isfinite(stored.view(DTYPES[dtype]).astype(np.float64))
    odd = Odd(dtype, stored.shape)
    odd.add(stored)
    first, count = int(expected.argmax()), int(expected.sum())
    assert str(odd) == f"NaN or infinite at [{first}], {count} of {stored.size} values"


def test_places_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_BLOCK", 4)
    values = np.zeros((3, 7), np.float32)
    values[2, 3] = np.nan
    odd = Odd("float32", values.shape)
    odd.add(values[:1].reshape(-1))
    assert str(odd) == ""
    odd.add(values[1:].reshape(-1))
    assert str(odd) == "NaN or infinite at [2, 3], 1 of 21 values"


def test_integers_are_finite() -> None:
    odd = Odd("int32", (2,))
    odd.add(np.full(2, 0x7F800000, np.int32))
    assert str(odd) == ""
