"""What adapters do to one weight: computed in f32 for a block of rows, rounded once.

The products are those of PEFT's `merge_and_unload` (0.21: `tuners/lora/layer.py`, `variants.py`).
A convolution's product is that of a linear layer of flattened weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from omnijet.export.checkpoint.shard import TORCH_DTYPES, Entry, read_tensor

_BLOCK_VALUES = 16 << 20
Rows = Callable[[int, int], Tensor]
"""Reads rows of a weight as f32[rows, width]."""


class Change(Protocol):
    """What one adapter does to a block of rows of a weight."""

    def apply(self, value: Tensor, base: Tensor, start: int, rows: Rows) -> Tensor:
        """Returns the changed block.

        Args:
            value: f32[rows, width] or f32[rows], with what earlier adapters changed.
            base: The same without.
            start: The first row of the block.
            rows: Reads other rows of the base.
        """


@dataclass(frozen=True, slots=True)
class LowRank:
    """Adds B A; with DoRA, then scales each row to its magnitude.

    Attributes:
        down: A: [rank, inputs].
        up: B: [outputs, rank].
        scaling: The factor of the product.
        magnitude: The length of each row; None without DoRA.
    """

    down: Entry
    up: Entry
    scaling: float
    magnitude: Entry | None = None

    def apply(self, value: Tensor, base: Tensor, start: int, rows: Rows) -> Tensor:
        stop = start + len(value)
        up = read_tensor(self.up, start, stop).float().flatten(1)
        delta = (up @ read_tensor(self.down).float().flatten(1)) * self.scaling
        if self.magnitude is None:
            return value + delta
        length = read_tensor(self.magnitude).float().flatten()[start:stop]
        norm: Tensor = torch.linalg.norm(
            base + delta, dim=1
        )  # of the unmerged weight, as in a forward
        return (length / norm)[:, None] * (value + delta)


@dataclass(frozen=True, slots=True)
class EmbeddingLowRank:
    """Adds (B A)ᵀ to an embedding; with DoRA, then scales each column to its magnitude.

    Attributes:
        down: A: [rank, vocabulary].
        up: B: [width, rank].
        scaling: The factor of the product.
        magnitude: The length of each column; None without DoRA.
    """

    down: Entry
    up: Entry
    scaling: float
    magnitude: Entry | None = None
    _norms: list[Tensor] = field(default_factory=list)

    def apply(self, value: Tensor, base: Tensor, start: int, rows: Rows) -> Tensor:
        delta = self._delta(start, start + len(value))
        if self.magnitude is None:
            return value + delta
        if not self._norms:
            self._norms.append(self._column_norms(rows))
        length = read_tensor(self.magnitude).float().flatten()
        return (length / self._norms[0]) * (value + delta)

    def _delta(self, start: int, stop: int) -> Tensor:
        down = read_tensor(self.down).float()[:, start:stop]
        return (down.t() @ read_tensor(self.up).float().t()) * self.scaling

    def _column_norms(self, rows: Rows) -> Tensor:
        """Reads the whole table once; sums in f64, because it has many rows."""
        count, width = self.down.shape[1], self.up.shape[0]
        squares = torch.zeros(width, dtype=torch.float64)
        step = max(1, _BLOCK_VALUES // width)
        for start in range(0, count, step):
            stop = min(start + step, count)
            block = rows(start, stop) + self._delta(start, stop)
            squares += block.square().sum(dim=0, dtype=torch.float64)
        return squares.sqrt().float()


@dataclass(frozen=True, slots=True)
class Shift:
    """Adds the bias of a low-rank layer to that of the base's layer."""

    by: Entry
    scaling: float

    def apply(self, value: Tensor, base: Tensor, start: int, rows: Rows) -> Tensor:
        return value + read_tensor(self.by, start, start + len(value)).float() * self.scaling


@dataclass(slots=True)
class Merge:
    """What all adapters do to one weight.

    Attributes:
        source: The tensor that replaces the base's; None if none does.
        changes: What is done to it, in order.
        origins: The adapters, for messages.
    """

    source: Entry | None = None
    changes: list[Change] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)

    def rows(self, entry: Entry, start: int, stop: int) -> Tensor:
        """Reads rows of the weight, merged, in the dtype of the base's tensor `entry`."""
        source = self.source or entry
        base = read_tensor(source, start, stop)
        dtype = TORCH_DTYPES[entry.dtype]
        if not self.changes:
            return base.to(dtype)
        flat = _matrix(base.float())
        value = _applied(self.changes, flat, start, _reader(source))
        return value.reshape(base.shape).to(dtype)


def _applied(changes: Sequence[Change], base: Tensor, start: int, rows: Rows) -> Tensor:
    value = base
    for change in changes:
        value = change.apply(value, base, start, rows)
    return value


def _reader(source: Entry) -> Rows:
    return lambda start, stop: _matrix(read_tensor(source, start, stop).float())


def _matrix(value: Tensor) -> Tensor:
    return value.flatten(1) if value.ndim > 1 else value
