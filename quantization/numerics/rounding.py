"""Rounds to a grid: weights in blocks or by channel, activations as a graph does."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from omnijet.quantization.schemes import EightBits, Half, WeightScheme
from omnijet.quantization.weights import QuantizedWeight
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

LARGEST: dict[EightBits, float] = {"int8": 127.0, "fp8": 448.0}
"""Magnitude that the end of a range is mapped to; E4M3 has no larger finite number."""

SHRINKS = tuple(np.linspace(1.0, 0.5, 21).tolist())
"""Fractions of a block's range that are tried: clipping few weights can round the others finer."""

OCTAVE = tuple((2.0 ** (np.arange(8) / 8)).tolist())
"""Multiples of an FP8 scale that are tried. Nothing is clipped, but numbers move between two powers
of two, where the grid is up to twice as fine or as coarse."""

COLUMNS = 1024  # columns of a block at once: 64 x 1024 numbers fit in the processor's cache

TINY = float(np.finfo(np.float32).tiny)
SMALLEST_HALF = 2.0**-24  # the smallest positive f16


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that a block of weights can become: scale * (low ... high).

    Attributes:
        scale: f32[outputs], positive.
        low, high: f32[outputs], whole numbers, low <= 0 <= high.
    """

    scale: Array
    low: Array
    high: Array

    def rounded(self, weight: Array) -> Array:
        """Rounds f32[..., outputs] to whole numbers f32[..., outputs], nearest, ties to even."""
        whole: Array = np.rint(weight / self.scale)
        return self._limit(whole)

    def _limit(self, whole: Array) -> Array:
        """Limits numbers to the grid's ends, in place. `np.clip` is eight times as slow here."""
        np.maximum(whole, self.low, out=whole)
        return np.minimum(whole, self.high, out=whole)

    def shrunk(self, weight: Array, moments: Array | None = None) -> Grid:
        """Returns the shrunk grid of least squared error for a weight f32[block, outputs].

        With second moments f32[block, block] of activation rows, the error is that of the product
        with these rows.
        """
        best, least = self.scale, np.full_like(self.scale, np.inf)
        scaled, whole = np.empty_like(weight), np.empty_like(weight)
        for shrink in SHRINKS:
            scale = np.maximum(self.scale * np.float32(shrink), np.float32(TINY))
            np.multiply(weight, 1 / scale, out=scaled)
            self._limit(np.rint(scaled, out=whole))
            whole -= scaled
            heard = whole if moments is None else moments @ whole
            error = np.einsum("io,io->o", heard, whole)
            error *= scale * scale
            best = np.where(error < least, scale, best)
            np.minimum(error, least, out=least)
        return Grid(best, self.low, self.high)


def whole_range(weight: Array, scheme: WeightScheme) -> Grid:
    """Returns the grid from the least to the largest number of f32[block, outputs], with zero."""
    least = np.minimum(weight.min(axis=0), np.float32(0))
    largest = np.maximum(weight.max(axis=0), np.float32(0))
    levels = np.float32(2**scheme.bits - 1)
    if scheme.symmetric:
        low, high = (np.float32(end) for end in ((-8, 7) if scheme.bits == 4 else (-127, 127)))
        scale = _positive(np.maximum(least / low, largest / high))
        return Grid(scale, np.full_like(scale, low), np.full_like(scale, high))
    scale = _positive(largest / levels - least / levels)
    lows = np.clip(np.rint(least / scale), -levels, 0)
    return Grid(scale, lows, lows + levels)


def _positive(scale: Array) -> Array:
    """Replaces scales too small to divide by, such as those of zeros, by 1."""
    positive: Array = np.where(scale < TINY, np.float32(1), scale)
    return positive


def stored(scale: Array, half: Half) -> Array:
    """Returns f32[...] as the graph stores it, so that numbers are rounded for the stored scale."""
    if half is None:
        return scale
    if half == "bf16":  # has the range of f32
        return scale.astype(ml_dtypes.bfloat16).astype(np.float32)
    with np.errstate(over="ignore"):  # a scale too large for f16 is refused when it is written
        kept = np.maximum(scale, np.float32(SMALLEST_HALF)).astype(np.float16)
    rounded: Array = np.where(np.isfinite(kept), kept.astype(np.float32), scale)
    return rounded


def best_range(
    weight: Array, scheme: WeightScheme, moments: Array | None = None, half: Half = None
) -> Grid:
    """Returns the shrunk grid of least squared error for a block f32[block, outputs]."""
    grid = whole_range(weight, scheme).shrunk(weight, moments)
    return Grid(stored(grid.scale, half), grid.low, grid.high)


def round_blocks(
    weight: Array, scheme: WeightScheme, moments: Array | None = None, half: Half = None
) -> QuantizedWeight:
    """Rounds each number of f32[inputs, outputs] to the nearest on its block's grid.

    Args:
        moments: f32[inputs / block, block, block], second moments of the activation's features in
            each block, which weigh errors when ranges are chosen; None weighs all alike.
    """
    assert scheme.block is not None
    blocks = empty_blocks(weight, scheme)
    for start in range(0, weight.shape[0], scheme.block):
        rows = slice(start, start + scheme.block)
        counted = None if moments is None else moments[start // scheme.block]
        for first in range(0, weight.shape[1], COLUMNS):
            columns = slice(first, first + COLUMNS)
            part = np.ascontiguousarray(weight[rows, columns], dtype=np.float32)
            grid = best_range(part, scheme, counted, half)
            store(blocks, start, columns, grid, grid.rounded(part))
    return blocks


def empty_blocks(weight: Array, scheme: WeightScheme) -> QuantizedWeight:
    """Returns empty arrays for a weight's blocks, after checks of its size and its numbers.

    Raises:
        OmnijetError: inputs are no multiple of the block, or numbers are not finite.
    """
    assert scheme.block is not None
    inputs, outputs = weight.shape
    if not scheme.fits(inputs):
        raise OmnijetError("a weight's inputs do not fall into whole blocks",
                           expected=f"a multiple of {scheme.block} inputs", got=inputs,
                           fix="choose a smaller block, or leave this layer as it is")  # fmt: skip
    require_finite(weight)
    count = inputs // scheme.block
    return QuantizedWeight(
        dtype=scheme.dtype,
        block=scheme.block,
        values=np.empty((inputs, outputs), np.int8 if scheme.symmetric else np.uint8),
        scales=np.empty((count, outputs), np.float32),
        zeros=None if scheme.symmetric else np.empty((count, outputs), np.uint8),
    )


def store(blocks: QuantizedWeight, start: int, columns: slice, grid: Grid, whole: Array) -> None:
    """Stores `whole`, f32[<= block, columns] on `grid`, into `blocks` from row `start`."""
    assert blocks.block is not None
    index = start // blocks.block
    blocks.scales[index, columns] = grid.scale
    if blocks.zeros is not None:
        blocks.zeros[index, columns] = -grid.low
        whole = whole - grid.low
    blocks.values[start : start + len(whole), columns] = whole


def round_channels(
    weight: Array, dtype: EightBits, rows: Array | None = None, half: Half = None
) -> QuantizedWeight:
    """Rounds f32[inputs, outputs] with a scale for each output feature.

    The largest number of an output becomes the largest of the dtype.

    Args:
        rows: f32[rows, inputs] of the activation; FP8 scales become the multiple that is best for
            the product with them. An integer grid is equally fine everywhere.
    """
    require_finite(weight)
    values = np.empty(weight.shape, np.int8 if dtype == "int8" else ml_dtypes.float8_e4m3fn)
    absmax = np.maximum(weight.max(axis=0), -weight.min(axis=0)).astype(np.float32)
    scales = _positive(absmax / np.float32(LARGEST[dtype]))
    for first in range(0, weight.shape[1], COLUMNS):
        columns = slice(first, first + COLUMNS)
        part = np.ascontiguousarray(weight[:, columns], dtype=np.float32)
        if dtype == "fp8" and rows is not None:
            scales[columns] = _best_place(part, scales[columns], rows)
        scales[columns] = stored(scales[columns], half)
        values[:, columns] = on_grid(part / scales[columns], dtype)
    return QuantizedWeight(dtype, None, values, scales)


def _best_place(weight: Array, scales: Array, rows: Array) -> Array:
    """Returns f32[outputs], the scales times the multiple from `OCTAVE` of least squared error of
    `rows` @ f32[inputs, outputs].
    """
    best, least = scales, np.full_like(scales, np.inf)
    for multiple in OCTAVE:
        tried = scales * np.float32(multiple)
        lost = on_grid(weight / tried, "fp8").astype(np.float32) * tried - weight
        heard = rows @ lost
        error = np.einsum("ro,ro->o", heard, heard)
        best = np.where(error < least, tried, best)
        np.minimum(error, least, out=least)
    return best


def on_grid(scaled: Array, dtype: EightBits) -> Array:
    """Rounds f32 in units of the scale to i8 or E4M3; larger numbers saturate."""
    largest = np.float32(LARGEST[dtype])
    limited = np.clip(scaled, -largest, largest)
    if dtype == "int8":
        rounded: Array = np.rint(limited, out=limited).astype(np.int8)
    else:
        rounded = limited.astype(ml_dtypes.float8_e4m3fn)
    return rounded


def round_activation(rows: Array, dtype: EightBits, scale: float) -> Array:
    """Rounds f32[...] as QuantizeLinear and DequantizeLinear do: int8 reaches down to -128."""
    scaled = rows / np.float32(scale)
    if dtype == "int8":
        rounded = np.clip(np.rint(scaled), -128, 127)
    else:
        rounded = on_grid(scaled, dtype).astype(np.float32)
    product: Array = rounded * np.float32(scale)
    return product


def require_finite(weight: Array) -> None:
    """Checks f32[inputs, outputs]; the OmnijetError names the first number that is not finite."""
    # few rows at once, because a mask of the whole layer would waste memory
    for first in range(0, len(weight), 64):
        finite = np.isfinite(weight[first : first + 64])
        if not finite.all():
            row, column = np.argwhere(~finite)[0].tolist()
            raise OmnijetError("a weight is not finite",
                               where=f"input {first + row}, output {column}",
                               expected="finite numbers", got=weight[first + row, column],
                               fix="export again, and compare the checkpoint's tensor")  # fmt: skip
