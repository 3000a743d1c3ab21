"""Distances and limits: what passes as rounding, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.reference.distance import BEST_DB, distance
from omnijet.runtime.reference.gate import LEAST_DB, Machine, fault_of, limit_db
from omnijet.runtime.reference.kept import MOST_VALUES, kept, spread


def values(seed: int = 0, shape: tuple[int, ...] = (16, 64)) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_same_is_right() -> None:
    found = distance(kept("x", values()), kept("x", values()))
    assert found.snr_db == BEST_DB and found.cosine == pytest.approx(1)
    assert fault_of(found, 50) is None


@pytest.mark.parametrize("share", [0.1, 0.01, 0.001])
def test_noise_is_measured(share: float) -> None:
    right = values()
    found = distance(kept("x", right), kept("x", right + share * values(1)))
    assert found.snr_db == pytest.approx(-20 * np.log10(share), abs=0.5)
    assert found.cosine == pytest.approx(1 - share**2 / 2, abs=share**2)


def test_a_loud_row_hides_nothing() -> None:
    """Attention sinks have numbers a hundred times as large as those of other tokens."""
    right = values()
    right[0] *= 300
    other = right.copy()
    other[1:] += values(1)[1:]
    assert distance(kept("x", right), kept("x", other)).snr_db < 2


def test_a_quiet_row_alarms_nobody() -> None:
    """The values of the first token are next to nothing, and drown in the rounding of any step."""
    right = values()
    right[0] *= 1e-6
    other = right + 1e-3 * values(1)
    assert distance(kept("x", right), kept("x", other)).snr_db > 55


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_wrong(odd: float) -> None:
    other = values()
    other[3, 3] = odd
    fault = fault_of(distance(kept("x", values()), kept("x", other)), LEAST_DB)
    assert fault == "1 NaN or infinite values"


def test_another_shape_is_wrong() -> None:
    found = distance(kept("x", values()), kept("x", values(0, (15, 64))))
    assert fault_of(found, LEAST_DB) == "[15, 64], not [16, 64]"


def test_what_all_logits_share_counts_nothing() -> None:
    right = values(0, (2, 5000)) + 40
    noisy = right + 0.5 * values(1, (2, 5000))
    found = distance(kept("prompt/logits", right), kept("prompt/logits", noisy))
    assert 4 < found.snr_db < 8, "and not 38, as next to 40"
    assert distance(kept("logits", right), kept("logits", right + 3)).snr_db > 100


def test_another_most_likely_token_is_wrong_unless_it_was_nearly_as_likely() -> None:
    right = values(0, (2, 5000))
    right[:, 7], right[:, 8] = 9, 8.99
    tie, other = right.copy(), right.copy()
    tie[1, 8] = 9.01
    other[1, 9] = 9.5
    close = distance(kept("logits", right), kept("logits", tie))
    far = distance(kept("logits", right), kept("logits", other))
    assert (close.top, close.rows, far.top, far.rows) == (1, 2, 1, 2)
    assert fault_of(close, 30) is None
    assert "1 of 2 most likely tokens are others" in (fault_of(far, 10) or "")


def test_fewer_rows_of_logits_are_the_last() -> None:
    right = values(0, (8, 300))
    found = distance(kept("prompt/logits", right), kept("prompt/logits", right[-3:]))
    assert found.snr_db == BEST_DB and (found.top, found.rows) == (3, 3)


def test_large_outputs_are_kept_in_part() -> None:
    whole = values(0, (500, 2048))
    part = kept("features", whole)
    assert part.values.size <= MOST_VALUES and part.shape == (500, 2048)
    assert np.array_equal(part.values[[0, -1]], whole[[0, -1]])
    assert list(spread(5, 9)) == [0, 1, 2, 3, 4]


def test_limits_follow_precision_machine_and_graph() -> None:
    exact = Machine("f32", on_gpu=False)
    assert exact.limit_db > Machine("f32", on_gpu=True).limit_db == Machine("f16", True).limit_db
    assert Machine("f16", True).limit_db > Machine("bf16", True).limit_db
    rounding = Machine("f16", True, rounds_activations=True)
    assert rounding.limit_db < Machine("f16", True).limit_db
    assert limit_db(exact, 120) == exact.limit_db
    assert LEAST_DB < limit_db(exact, 40) < exact.limit_db, "a graph that is less steady itself"
    assert limit_db(exact, 3) == LEAST_DB
