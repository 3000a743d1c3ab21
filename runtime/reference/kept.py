"""The values of an output that are kept: enough to tell a wrong one, few enough to travel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnijet.runtime.bundle.contract import Array

MOST_VALUES = 1 << 16  # of an output
LOGITS = 4096  # of a row
BEST = 16  # logits of a row that are kept with their ids


@dataclass(frozen=True, slots=True)
class Kept:
    """A part of an output.

    Attributes:
        values: f32[rows, width].
        shape: of the whole output; logits may have fewer rows where an engine picks fewer.
        odd: how many values of the whole output are NaN or infinite.
        best: the ids of the largest values of each row, largest first: i32[rows, 16], and what they
            are, f32[rows, 16]; None: the output is no logits.
    """

    values: Array
    shape: tuple[int, ...]
    odd: int = 0
    best: tuple[Array, Array] | None = None


def kept(name: str, output: Array) -> Kept:
    """Returns the part of an output that is kept; where it lies depends on the shape alone."""
    odd = output.size - int(np.isfinite(output).sum())
    rows = output.reshape(-1, output.shape[-1])
    if name.rpartition("/")[2] != "logits":
        most = max(MOST_VALUES // rows.shape[1], 1)
        return Kept(rows[spread(len(rows), most)].astype(np.float32), output.shape, odd)
    values = rows[:, spread(rows.shape[1], LOGITS)].astype(np.float32)
    count = min(BEST, rows.shape[1])
    finite = np.where(np.isfinite(rows), rows, -np.inf)
    ids = np.argpartition(-finite, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(finite, ids, 1), axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, 1)
    largest = np.take_along_axis(rows, ids, 1).astype(np.float32)
    return Kept(values, output.shape, odd, (ids.astype(np.int32), largest))


def spread(count: int, most: int) -> Array:
    """Returns at most `most` of `count` indices, evenly spread, with the first and the last."""
    found: Array = np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
    return found
