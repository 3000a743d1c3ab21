"""Statistics of the same rows are the same, however the rows arrived."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.quantization.numerics.statistics import Statistics, condensed
from omnijet.quantization.schemes import Ranging
from omnijet.runtime.errors import OmnijetError
from tests.quantization.activations import correlated

INPUTS = 24
ROWS = correlated(INPUTS, outliers=1)(700)


def seen(*parts: np.ndarray, seed: int = 3) -> Statistics:
    stats = Statistics(INPUTS, seed, sample_rows=100)
    for part in parts:
        stats.update(part)
    return stats


def assert_same(a: Statistics, b: Statistics) -> None:
    assert a.count == b.count
    np.testing.assert_array_equal(a.absmax, b.absmax)
    np.testing.assert_allclose(a.absmean, b.absmean, rtol=1e-6)
    np.testing.assert_array_equal(a.histogram.counts, b.histogram.counts)
    assert a.histogram.exponent == b.histogram.exponent
    np.testing.assert_array_equal(a.sample, b.sample)


def test_vectors_are_numpys() -> None:
    stats = seen(ROWS)
    np.testing.assert_array_equal(stats.absmax, np.abs(ROWS).max(axis=0))
    np.testing.assert_allclose(stats.absmean, np.abs(ROWS).mean(axis=0), rtol=1e-5)
    assert stats.count == 700 and stats.histogram.counts.sum() == ROWS.size


@pytest.mark.parametrize("cuts", [range(1, 700), [1, 2, 400], [99, 100, 101], [350]])
def test_splits_do_not_matter(cuts: list[int]) -> None:
    assert_same(seen(*np.split(ROWS, cuts)), seen(ROWS))


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seen(ROWS)
    monkeypatch.setattr("omnijet.quantization.numerics.statistics.CHUNK", 7 * INPUTS)
    assert_same(seen(ROWS), whole)


def test_the_sample_is_drawn_evenly_and_by_its_seed() -> None:
    numbered = np.repeat(np.arange(1000, dtype=np.float32)[:, None], INPUTS, axis=1)
    drawn = np.concatenate([seen(numbered, seed=seed).sample[:, 0] for seed in range(50)])
    assert len(np.unique(seen(numbered).sample)) == 100
    # 50 draws of 100 rows of 1000: 5 of each row, and every tenth of the stream alike
    assert np.abs(np.histogram(drawn, 10, (0, 1000))[0] - 500).max() < 90
    assert np.bincount(drawn.astype(int), minlength=1000).max() < 20
    assert not np.array_equal(seen(ROWS, seed=1).sample, seen(ROWS, seed=2).sample)


def test_few_rows_are_all_kept() -> None:
    np.testing.assert_array_equal(
        np.sort(seen(ROWS[:40], ROWS[40:60]).sample, axis=0), np.sort(ROWS[:60], axis=0)
    )


def test_f16_counts_as_the_same_numbers_in_f32() -> None:
    half = ROWS.astype(np.float16)
    assert_same(seen(half), seen(half.astype(np.float32)))
    held = Statistics(INPUTS, 3, sample_rows=100, dtype=np.float16)  # half the memory, nothing lost
    held.update(half)
    again = Statistics.from_arrays(held.to_arrays())
    for statistics in (held, again):
        assert statistics.to_arrays()["rows"].dtype == np.float16
        assert statistics.sample.dtype == np.float32
        np.testing.assert_array_equal(statistics.sample, seen(half).sample)


def test_resuming_goes_on_as_if_it_had_never_stopped() -> None:
    resumed = Statistics.from_arrays(seen(ROWS[:300]).to_arrays())
    resumed.update(ROWS[300:])
    through = seen(ROWS[:300], ROWS[300:])
    expected, found = through.to_arrays(), resumed.to_arrays()
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype, name


def test_resuming_owns_its_arrays() -> None:
    arrays = seen(ROWS[:300]).to_arrays()
    before = {name: array.copy() for name, array in arrays.items()}
    Statistics.from_arrays(arrays).update(ROWS[300:])
    for name, array in before.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_merging_is_seeing_both() -> None:
    merged = seen(ROWS[:500])
    other = seen(ROWS[500:], seed=4)
    merged.merge(other)
    whole = seen(ROWS)
    np.testing.assert_array_equal(merged.absmax, whole.absmax)
    np.testing.assert_allclose(merged.absmean, whole.absmean, rtol=1e-6)
    np.testing.assert_array_equal(merged.histogram.counts, whole.histogram.counts)
    assert merged.count == 700
    # about 2 of 7 rows are the other's
    first = {row.tobytes() for row in ROWS[:500]}
    assert len(merged.sample) == 100
    assert 50 < sum(row.tobytes() in first for row in merged.sample) < 90


def test_a_range_with_a_divisor_is_that_of_divided_rows() -> None:
    stats = Statistics(INPUTS, 0)
    stats.update(ROWS[:500])  # the sample holds them all
    divisor = np.geomspace(0.1, 10, INPUTS).astype(np.float32)
    divided = Statistics(INPUTS, 0)
    divided.update(ROWS[:500] / divisor)
    for ranging in ("max", "percentile", "entropy", "mse"):
        assert stats.range_of(ranging, "int8", divisor) == pytest.approx(
            divided.range_of(ranging, "int8"), rel=1e-6
        )


@pytest.mark.parametrize("ranging", ["max", "percentile", "entropy", "mse"])
def test_no_range_is_zero_or_beyond_what_was_seen(ranging: Ranging) -> None:
    for dtype in ("int8", "fp8"):
        assert 0 < seen(ROWS).range_of(ranging, dtype) <= np.abs(ROWS).max()
        assert seen(np.zeros((5, INPUTS), np.float32)).range_of(ranging, dtype) == 1
        constant = np.full((5, INPUTS), 3, np.float32)
        assert seen(constant).range_of(ranging, dtype) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_that_are_not_finite_are_named_and_change_nothing(bad: float, dtype: type) -> None:
    stats = seen(ROWS[:50])
    before = stats.to_arrays()
    rows = ROWS[50:60].astype(dtype)
    rows[4, 7] = bad
    with pytest.raises(OmnijetError, match="row 54, input 7"):
        stats.update(rows)
    for name, array in stats.to_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_no_rows_say_nothing() -> None:
    empty = seen(ROWS[:0])
    for ask in (lambda: empty.absmean, lambda: empty.sample, lambda: empty.range_of("max", "fp8")):
        with pytest.raises(OmnijetError, match="no rows"):
            ask()


def test_rows_of_another_width_are_refused() -> None:
    for rows in (ROWS[:, :-1], ROWS[0]):
        with pytest.raises(OmnijetError, match="another shape"):
            seen(rows)
    with pytest.raises(OmnijetError, match="cannot be merged"):
        seen(ROWS).merge(Statistics(INPUTS + 1, 0))


def test_condensed_rows_have_the_same_gram_matrix() -> None:
    triangle = condensed(ROWS)
    assert triangle.shape == (INPUTS, INPUTS)
    gram = ROWS.T @ ROWS
    np.testing.assert_allclose(triangle.T @ triangle, gram, atol=1e-5 * np.abs(gram).max())
    assert condensed(ROWS[:5]) is not None and len(condensed(ROWS[:5])) == 5
