"""Streams a graph's weights from the checkpoint into its weight file.

Memory use does not grow with the checkpoint: a tensor is read in blocks of rows, converted,
transposed if the graph needs [in, out], and written in place with `pwrite`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from omnijet.export.graphfile.weight_pages import pwrite
from omnijet.export.modules.base import Source, load_source, shaped
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.pages import INLINE_BYTES, PAGE
from omnijet.runtime.errors import OmnijetError

BLOCK_BYTES = 64 << 20
F16_MAX = 65504.0

TORCH_OF_IR = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
}


class RowReader(Protocol):
    """A checkpoint whose tensors can be read in part."""

    def tensor(self, key: str) -> Tensor: ...

    def rows(self, key: str, start: int, stop: int) -> Tensor: ...


class ByteRuns(Protocol):
    """A tensor whose bytes arrive as contiguous pieces, in any order."""

    @property
    def parameters(self) -> int: ...

    def runs(self, reader: RowReader) -> Iterator[tuple[int, Array]]:
        """Yields (offset in the tensor in bytes, data)."""


def write_weights(
    model: ir.Model,
    sources: Mapping[str, Source | ByteRuns],
    reader: RowReader,
    folder: Path,
    file_name: str,
    progress: Callable[[int], None],
    written: Callable[[int], None] = lambda offset: None,
) -> int:
    """Writes `folder/file_name` and makes the model's initializers refer to it.

    Args:
        model: The graph; its initializers have names, shapes and dtypes.
        sources: Initializer name -> the source of its value. Initializers without a source
            are constants of the trace.
        reader: The checkpoint.
        folder: The folder of the graph.
        file_name: The name of the weight file.
        progress: Receives the number of bytes of each written tensor.
        written: Receives the offset before which the file is complete, after each tensor.

    Returns:
        The number of parameters.

    Raises:
        OmnijetError: A finite value does not fit f16.
    """
    parameters = 0
    offset = 0
    descriptor = os.open(folder / file_name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for name, value in list(model.graph.initializers.items()):
            tensor = value.const_value
            assert tensor is not None and value.shape is not None
            shape = value.shape.numpy()
            source = sources.get(name)
            if isinstance(source, Source):
                parameters += int(np.prod(shape))
            elif source is not None:
                parameters += source.parameters
            size = int(tensor.nbytes)
            if size <= INLINE_BYTES and (source is None or isinstance(source, Source)):
                if source is not None:
                    inline = convert(load_source(source, reader), tensor.dtype, name)
                    value.const_value = ir.tensor(shaped(inline, shape, name), name=name)
                continue
            if source is None:  # a constant of the trace
                pwrite(descriptor, np.ascontiguousarray(tensor.numpy()), offset)
            elif isinstance(source, Source):
                _write_source(descriptor, offset, source, reader, tensor.dtype, shape, name)
            else:
                for start, data in source.runs(reader):
                    pwrite(descriptor, np.ascontiguousarray(data), offset + start)
            value.const_value = ir.ExternalTensor(
                file_name, offset, size, tensor.dtype, shape=value.shape, name=name, base_dir=folder
            )
            progress(size)
            written(offset + size)
            offset += -(-size // PAGE) * PAGE
        os.ftruncate(descriptor, max(offset, PAGE))
    finally:
        os.close(descriptor)
    return parameters


def _write_source(
    descriptor: int,
    offset: int,
    source: Source,
    reader: RowReader,
    dtype: ir.DataType,
    shape: tuple[int, ...],
    name: str,
) -> None:
    if source.fold is not None or len(shape) < 2:
        _write(descriptor, offset, convert(load_source(source, reader), dtype, name))
        return
    itemsize = int(dtype.itemsize)
    column = 0  # output features written so far
    for key, key_shape in zip(source.keys, source.shapes, strict=True):
        rows, width = key_shape[0], int(np.prod(key_shape[1:]))
        block = max(1, BLOCK_BYTES // (4 * width))
        for start in range(0, rows, block):
            stop = min(start + block, rows)
            part = convert(reader.rows(key, start, stop).reshape(stop - start, width), dtype, name)
            at = column + start
            if not source.transpose:
                _write(descriptor, offset + at * width * itemsize, part)
            elif stop - start == shape[1]:
                _write(descriptor, offset, part.t().contiguous())
            else:
                # a band of columns of [in, out]: one short write per input feature
                band = raw_bytes(part.t()).reshape(width, -1)
                for row in range(width):
                    pwrite(descriptor, band[row], offset + (row * shape[1] + at) * itemsize)
        column += rows


def _write(descriptor: int, offset: int, value: Tensor) -> None:
    pwrite(descriptor, raw_bytes(value), offset)


def raw_bytes(value: Tensor) -> Array:
    """Returns the bytes of a tensor as u8[...], because numpy has no bf16."""
    result: Array = value.contiguous().reshape(-1).view(torch.uint8).numpy()
    return result


def convert(value: Tensor, dtype: ir.DataType, name: str) -> Tensor:
    """Converts a value to a graph's dtype, rounding to nearest, ties to even.

    Raises:
        OmnijetError: A finite value does not fit f16.
    """
    wanted = TORCH_OF_IR[dtype]
    if value.dtype == wanted:
        return value
    result = value.to(wanted)
    # one reduction is cheaper than isfinite over every value; NaN fails the comparison too
    if wanted is torch.float16 and not bool(result.abs().max() <= F16_MAX):
        raise OmnijetError(
            "a weight does not fit f16",
            where=name,
            expected=f"finite values of at most {F16_MAX:g}",
            got=f"largest magnitude {value.float().abs().max().item():g}",
            fix="export with --dtype f32",
        )
    return result
