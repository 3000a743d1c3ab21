"""Measured rates are plausible, and measured once."""

from __future__ import annotations

import pytest

from omnijet.runtime.profiling import rates
from omnijet.runtime.profiling.rates import Rates, matmul_peak, read_bandwidth


def test_a_machine_multiplies_and_reads() -> None:
    assert 1e8 < matmul_peak(1) < 1e14
    assert 1e8 < read_bandwidth(1 << 20, 1) < 1e13


def test_a_size_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def count(size: int, threads: int) -> float:
        asked.append(size)
        return float(size)

    monkeypatch.setattr(rates, "read_bandwidth", count)
    found = Rates(2, 1e9)
    assert found.read_per_s(3e6) == found.read_per_s(4e6) == 1 << 22
    assert found.read_per_s(1e12) == rates.LARGEST_READ
    assert found.read_per_s(10) == rates.SMALLEST_READ
    assert asked == [1 << 22, rates.LARGEST_READ, rates.SMALLEST_READ]
