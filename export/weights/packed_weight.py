"""Packed weights of a checkpoint in the layout of ONNX.

Numbers, scales and zero points keep their values; only their layout changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from omnijet.export.checkpoint.packing import Packing
from omnijet.export.weights.packed_words import (
    Bytes,
    Words,
    as_words,
    pack_columns,
    plain_order,
    unpack_columns,
    unpack_rows,
)
from omnijet.export.weights.weight_file import BLOCK_BYTES, RowReader, convert, raw_bytes

ByteRun = tuple[int, npt.NDArray[Any]]
"""One contiguous piece of a tensor: (offset in bytes, data)."""


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """Packed projections that read one activation, side by side: a weight [inputs, outputs].

    Attributes:
        names: The projections' names in the checkpoint, without ".qweight".
        widths: The output features of each projection.
        inputs: The number of input features.
        packing: How the checkpoint packs its layers.
        symmetric: Whether every zero point is the middle of the range. The numbers become
            signed then and need no zero points.
        order: i32[inputs], the input features sorted by group: the order in which rows are
            written; None if the checkpoint stores them in this order.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    inputs: int
    packing: Packing
    symmetric: bool
    order: npt.NDArray[np.int32] | None

    @property
    def outputs(self) -> int:
        return sum(self.widths)

    @property
    def groups(self) -> int:
        return self.inputs // self.packing.group

    @property
    def dtype(self) -> ir.DataType:
        """Returns the dtype of numbers and zero points."""
        name = f"{'INT' if self.symmetric else 'UINT'}{self.packing.bits}"
        return ir.DataType[name]

    def row_bytes(self, numbers: int) -> int:
        return numbers * self.packing.bits // 8

    def nbytes(self, scale_bytes: int) -> int:
        """Returns the approximate size of all its tensors in bytes."""
        rows = self.inputs + (0 if self.symmetric else self.groups)
        return rows * self.row_bytes(self.outputs) + self.groups * self.outputs * scale_bytes


PackedPlan = Mapping[str, tuple[PackedWeight, ...]]
"""The packed weights of a graph by name. A weight has several parts if its projections sort their
input features differently."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers [inputs, outputs] of a weight, streamed in blocks of rows."""

    weight: PackedWeight

    @property
    def parameters(self) -> int:
        return self.weight.inputs * self.weight.outputs

    def runs(self, reader: RowReader) -> Iterator[ByteRun]:
        weight = self.weight
        place = np.arange(weight.inputs) if weight.order is None else np.argsort(weight.order)
        stride, column = weight.row_bytes(weight.outputs), 0
        for name, width in zip(weight.names, weight.widths, strict=True):
            for start, data in self._blocks(reader, name, width):
                if weight.order is None and width == weight.outputs:
                    yield start * stride, data
                    continue
                for row, at in zip(data, place[start : start + len(data)], strict=True):
                    yield int(at) * stride + weight.row_bytes(column), row
            column += width

    def _blocks(self, reader: RowReader, name: str, width: int) -> Iterator[tuple[int, Bytes]]:
        """Yields (first input feature, bytes of the features' rows)."""
        packing, bits = self.weight.packing, self.weight.packing.bits
        features = packing.per_word if packing.method == "gptq" else 1  # per stored row
        rows = self.weight.inputs // features
        step = max(1, BLOCK_BYTES // (4 * width * features))
        for start in range(0, rows, step):
            stored = reader.rows(f"{name}.qweight", start, min(start + step, rows))
            words = as_words(stored)
            if packing.method == "gptq":
                data = pack_columns(unpack_rows(words, bits), bits)
            else:
                data = plain_order(words).view(np.uint8)
            yield start * features, signed(data, bits) if self.weight.symmetric else data


@dataclass(frozen=True, slots=True)
class Scales:
    """The scales [groups, outputs] of a weight, in the activations' dtype.

    f16 scales lose three bits in bf16: an error of 0.2 %, where rounding to 4 bits costs 10 %.
    """

    weight: PackedWeight
    dtype: ir.DataType
    parameters: int = 0

    def runs(self, reader: RowReader) -> Iterator[ByteRun]:
        parts = [reader.tensor(f"{name}.scales") for name in self.weight.names]
        value = convert(torch.cat(parts, dim=1), self.dtype, f"{self.weight.names[0]}.scales")
        yield 0, raw_bytes(value)


@dataclass(frozen=True, slots=True)
class Zeros:
    """The zero points [groups, outputs] of a weight."""

    weight: PackedWeight
    parameters: int = 0

    def runs(self, reader: RowReader) -> Iterator[ByteRun]:
        packing = self.weight.packing
        parts = [zero_points(reader, name, packing) for name in self.weight.names]
        yield 0, pack_columns(np.concatenate(parts, axis=1), packing.bits)


def signed(data: Bytes, bits: int) -> Bytes:
    """Subtracts the middle of the range from packed numbers; the result is in two's complement."""
    return data ^ np.uint8(0x80 if bits == 8 else 0x88)


def stored_zeros(reader: RowReader, name: str) -> Words:
    """Reads the zero points of a projection as stored."""
    return as_words(reader.tensor(f"{name}.qzeros"))


def zero_points(reader: RowReader, name: str, packing: Packing) -> Bytes:
    """Reads the zero points of a projection, u8[groups, outputs]."""
    words = stored_zeros(reader, name)
    if packing.method == "awq":
        words = plain_order(words)
    if packing.zeros_less_one:
        words = words + word_of_ones(packing)
    return unpack_columns(words, packing.bits)


def word_of_ones(packing: Packing) -> np.uint32:
    """Returns a word in which every number is 1.

    Adding it to a word undoes its subtraction, borrows included.
    """
    return np.uint32(0x01010101 if packing.bits == 8 else 0x11111111)
