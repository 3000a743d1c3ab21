"""How far what an engine computed is from what was recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.reference.kept import Kept

BEST_DB = 120.0
"""What equal outputs have; f32 resolves no more."""
LEAST = 1e-20


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance of one output.

    Attributes:
        snr_db: signal to error, in decibels: 20 means that the error is a tenth of the signal.
        cosine: of the angle between the two.
        odd: how many values are NaN or infinite.
        top: of how many rows of logits the most likely token is the recorded one.
        rows: of how many rows that was looked at; 0: the output is no logits.
        behind: how far below the best the logit of a token was recorded that is the most likely
            here, in multiples of the spread of the recorded logits; the most of any row.
        fault: why nothing could be compared.
    """

    snr_db: float = 0.0
    cosine: float = 0.0
    odd: int = 0
    top: int = 0
    rows: int = 0
    behind: float = 0.0
    fault: str | None = None


def distance(recorded: Kept, found: Kept) -> Distance:
    """Compares an output with the recorded one.

    No row counts more than another, however large its numbers are: a few tokens and features have
    numbers a hundred times the others', and would hide an error in all the rest. Rows that are
    quieter than the median count as if they were as loud, because noise drowns them anyway.
    """
    signal, other, best = recorded.values, found.values, found.best
    expected = recorded.best
    if recorded.best is not None and len(other) < len(signal):  # the last rows of a prompt
        signal = signal[len(signal) - len(other) :]
        expected = (recorded.best[0][-len(other) :], recorded.best[1][-len(other) :])
    elif recorded.shape != found.shape:
        return Distance(fault=f"{list(found.shape)}, not {list(recorded.shape)}")
    if found.odd:
        return Distance(snr_db=-BEST_DB, odd=found.odd, fault=f"{found.odd} NaN or infinite values")
    if signal.size == 0:
        return Distance(BEST_DB, 1.0)
    signal, other = signal.astype(np.float64), other.astype(np.float64)
    if expected is None or best is None:
        return Distance(*_apart(signal, other))
    # what all logits of a row share changes no probability
    apart = _apart(*(one - one.mean(axis=1, keepdims=True) for one in (signal, other)))
    snr, cosine = apart
    top, rows, behind = _top(signal, expected, best)
    return Distance(snr, cosine, 0, top, rows, behind)


def _apart(signal: Array, other: Array) -> tuple[float, float]:
    """Returns signal to error in decibels, and the cosine, of f64[rows, width]."""
    power = np.square(signal).sum(axis=1)
    weight = 1 / np.maximum(np.maximum(power, np.median(power)), LEAST)
    whole = float((weight * power).sum())
    error = float((weight * np.square(signal - other).sum(axis=1)).sum())
    across = float((weight * (signal * other).sum(axis=1)).sum())
    size = whole * float((weight * np.square(other).sum(axis=1)).sum())
    cosine = across / size**0.5 if size > LEAST else float(error <= LEAST)
    if error <= LEAST:
        return BEST_DB, cosine
    return float(np.clip(10 * np.log10(max(whole, LEAST) / error), -BEST_DB, BEST_DB)), cosine


def _top(
    signal: Array, expected: tuple[Array, Array], found: tuple[Array, Array]
) -> tuple[int, int, float]:
    """Returns how many most likely tokens agree, of how many, and `Distance.behind`."""
    here = found[0][:, 0]
    agree = expected[0][:, 0] == here
    behind = 0.0
    for row in np.flatnonzero(~agree):
        spread = max(float(signal[row].std()), LEAST**0.5)
        known = np.flatnonzero(expected[0][row] == here[row])
        value = expected[1][row][known[0] if known.size else -1]  # no more likely than the last
        behind = max(behind, float(expected[1][row][0] - value) / spread)
    return int(agree.sum()), len(agree), behind
