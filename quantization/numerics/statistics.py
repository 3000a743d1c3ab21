"""What calibration keeps about an activation: a few vectors, a histogram, a sample of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omnijet.quantization.numerics import ranging as ranges
from omnijet.quantization.numerics.histogram import BINS, Histogram
from omnijet.quantization.schemes import EightBits, Ranging
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

SAMPLE_ROWS = 512
MOST_SAMPLE_ROWS = 1 << 14
MOST_EXPONENT = 1 << 10
CHUNK = 1 << 20  # numbers processed at once


class Statistics:
    """Statistics of the rows f16 or f32[inputs] of one activation, in constant memory.

    A row enters the sample if the hash of the seed and the row's number is among the smallest.
    Count, absmax, histogram and sample therefore do not depend on how rows are split into updates;
    absmean may differ in the last bits of an f64 sum.

    Attributes:
        inputs: number of features.
        count: number of rows.
        absmax: f32[inputs], largest magnitude of each feature.
        histogram: histogram of all magnitudes.

    Args:
        dtype: type of the rows, and of the sample.
    """

    def __init__(
        self, inputs: int, seed: int, *, sample_rows: int = SAMPLE_ROWS, dtype: Any = np.float32
    ) -> None:
        self.inputs = inputs
        self.seed = seed % 2**64
        self.count = 0
        self.absmax: Array = np.zeros(inputs, np.float32)
        self.histogram = Histogram()
        self._total: Array = np.zeros(inputs, np.float64)
        self._rows: Array = np.empty((sample_rows, inputs), dtype)
        self._hashes: Array = np.empty(
            0, np.uint64
        )  # hashes of the sample's rows, in the order of `_rows`

    @property
    def absmean(self) -> Array:
        """Mean magnitude of each feature, f32[inputs]."""
        self._require_rows()
        mean: Array = (self._total / self.count).astype(np.float32)
        return mean

    @property
    def sample(self) -> Array:
        """Rows drawn uniformly from all, f32[min(count, sample rows), inputs]."""
        self._require_rows()
        rows: Array = self._rows[np.argsort(self._hashes)].astype(np.float32, copy=False)
        return rows

    def update(self, rows: Array) -> None:
        """Adds rows f16 or f32[rows, inputs]. If it raises, the statistics are unchanged.

        Raises:
            OmnijetError: the rows have another width, or are not finite.
        """
        self._require_sound(rows)
        step = max(1, CHUNK // self.inputs)
        for first in range(0, len(rows), step):
            self._add(rows[first : first + step].astype(np.float32))

    def _add(self, rows: Array) -> None:
        numbers = np.arange(self.count, self.count + len(rows), dtype=np.uint64)
        self._draw(rows, _hashed(self.seed, numbers))
        self.count += len(rows)
        magnitudes = np.abs(rows)
        np.maximum(self.absmax, magnitudes.max(axis=0), out=self.absmax)
        self._total += magnitudes.sum(axis=0, dtype=np.float64)
        self.histogram.add(magnitudes)

    def merge(self, other: Statistics) -> None:
        """Adds the statistics of other rows.

        A row keeps its hash, so parts of one calibration need different seeds for independent
        samples.
        """
        if other.inputs != self.inputs:
            raise OmnijetError("statistics of different activations cannot be merged",
                               expected=f"{self.inputs} inputs", got=other.inputs)  # fmt: skip
        self._draw(other._rows[: len(other._hashes)], other._hashes)
        self.count += other.count
        np.maximum(self.absmax, other.absmax, out=self.absmax)
        self._total += other._total
        self.histogram.merge(other.histogram)

    def range_of(self, ranging: Ranging, dtype: EightBits, divisor: Array | None = None) -> float:
        """Returns the largest magnitude to represent, positive; 1 if all rows are zero.

        Args:
            divisor: f32[inputs], by which rows will be divided. All rules but `max` then use the
                sample only.
        """
        self._require_rows()
        divided = self.absmax if divisor is None else self.absmax / divisor
        largest = float(divided.max())
        if largest == 0:
            return 1.0
        if ranging == "max":
            return largest
        histogram = self.histogram
        if divisor is not None:
            histogram = Histogram()
            histogram.add(np.abs(self.sample / divisor).astype(np.float32))
        match ranging:
            case "percentile":
                reach = ranges.percentile_range(histogram)
            case "mse":
                reach = ranges.mse_range(histogram, dtype)
            case "entropy":
                reach = ranges.entropy_range(histogram, dtype)
        return min(reach, largest)

    def to_arrays(self) -> dict[str, Array]:
        """Returns all that `from_arrays` needs to continue; the arrays are not copies."""
        held = len(self._hashes)
        return {
            "seed": np.array(self.seed, np.uint64),
            "count": np.array(self.count, np.int64),
            "absmax": self.absmax,
            "total": self._total,
            "exponent": np.array(self.histogram.exponent, np.int64),
            "counts": self.histogram.counts,
            "sample_rows": np.array(len(self._rows), np.int64),
            "rows": self._rows[:held],
            "hashes": self._hashes,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Statistics:
        """Inverts `to_arrays`. Raises `ValueError` if the arrays do not fit each other."""
        _require_fit(arrays)
        self = cls(len(arrays["absmax"]), int(arrays["seed"]),
                   sample_rows=int(arrays["sample_rows"]), dtype=arrays["rows"].dtype)  # fmt: skip
        self.count = int(arrays["count"])
        self.absmax[:] = arrays["absmax"]
        self._total[:] = arrays["total"]
        self.histogram = Histogram(int(arrays["exponent"]), np.array(arrays["counts"]))
        self._hashes = arrays["hashes"]
        self._rows[: len(self._hashes)] = arrays["rows"]
        return self

    def _draw(self, rows: Array, hashes: Array) -> None:
        """Keeps the rows with the smallest hashes among the sample and `rows`."""
        held = len(self._hashes)
        order = np.argsort(np.concatenate([self._hashes, hashes]), kind="stable")
        winners = order[: len(self._rows)]
        entering = winners[winners >= held] - held
        leaving = np.setdiff1d(np.arange(held), winners)
        slots = np.concatenate([leaving, np.arange(held, len(self._rows))])[: len(entering)]
        grown = np.empty(len(winners), np.uint64)
        grown[:held] = self._hashes
        grown[slots] = hashes[entering]
        self._hashes = grown
        self._rows[slots] = rows[entering]

    def _require_rows(self) -> None:
        if self.count == 0:
            raise OmnijetError("calibration saw no rows of an activation",
                               expected="at least one row", got=0,
                               fix="calibrate with data that runs this graph")  # fmt: skip

    def _require_sound(self, rows: Array) -> None:
        if rows.ndim != 2 or rows.shape[1] != self.inputs:
            raise OmnijetError("rows of an activation have another shape",
                               expected=f"[rows, {self.inputs}]", got=list(rows.shape))  # fmt: skip
        finite = np.isfinite(rows)
        if not finite.all():
            row, column = np.argwhere(~finite)[0].tolist()
            raise OmnijetError("an activation is not finite",
                               where=f"row {self.count + row}, input {column}",
                               expected="finite numbers", got=rows[row, column],
                               fix="calibrate on the f32 bundle: f16 may overflow")  # fmt: skip


def condensed(rows: Array) -> Array:
    """Reduces f32[rows, inputs] to f32[<= inputs, inputs] with the same Gram matrix, so that every
    product with a weight has the same squared sum.
    """
    if len(rows) <= rows.shape[1]:
        return rows
    _, triangle = np.linalg.qr(rows)
    return triangle


def _hashed(seed: int, numbers: Array) -> Array:
    """Returns u64[n], SplitMix64 (Steele, Lea, Flood 2014) in a stream for each seed."""
    state = _mixed(np.array([seed], np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return _mixed(state + (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


def _mixed(state: Array) -> Array:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = state ^ (state >> np.uint64(31))
    return mixed


def _require_fit(arrays: Mapping[str, Array]) -> None:
    """Raises `ValueError` before anything is made that arrays from a file ask for."""
    inputs, held = len(arrays["absmax"]), len(arrays["hashes"])
    shapes = {
        "seed": (), "count": (), "exponent": (), "sample_rows": (), "absmax": (inputs,),
        "total": (inputs,), "rows": (held, inputs), "hashes": (held,), "counts": (BINS,),
    }  # fmt: skip
    for name, shape in shapes.items():
        found = arrays[name]
        if found.shape != shape or found.dtype.kind not in "iuf":
            raise ValueError(f"{name}: {found.dtype}{list(found.shape)}, not of {list(shape)}")
    rows, exponent = int(arrays["sample_rows"]), int(arrays["exponent"])
    if not held <= rows <= MOST_SAMPLE_ROWS or abs(exponent) > MOST_EXPONENT:
        raise ValueError(f"{rows} rows in a sample of {held}, exponent {exponent}")
