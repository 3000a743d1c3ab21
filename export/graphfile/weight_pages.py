"""The weight file of a graph while it is written: each tensor starts on a page of its own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from omnijet.runtime.bundle.entries import FileEntry
from omnijet.runtime.bundle.pages import INLINE_BYTES, PAGE
from omnijet.runtime.errors import OmnijetError

COPY_BYTES = 16 << 20


class WeightPages:
    """A context manager that appends tensors to a weight file and keeps none of them in memory.

    Args:
        folder: The folder of the file.
        file_name: The file's name.
        is_hashed: Whether the file is hashed while it is written, so that nobody reads it for that.
    """

    def __init__(self, folder: Path, file_name: str, *, is_hashed: bool = False) -> None:
        self._folder = folder
        self._file_name = file_name
        self._offset = 0
        self._hash = hashlib.sha256() if is_hashed else None
        self._file = open(folder / file_name, "w+b", buffering=0)  # noqa: SIM115 (closes with us)

    def __enter__(self) -> WeightPages:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Fills the last page and closes the file; nothing can be added afterwards."""
        if not self._file.closed:
            if self._hash is not None and not self._offset:
                self._hash.update(bytes(PAGE))
            self._file.truncate(max(self._offset, PAGE))
            self._file.close()

    @property
    def entry(self) -> FileEntry:
        """Size and hash of the closed file."""
        assert self._hash is not None and self._file.closed
        return FileEntry(max(self._offset, PAGE), self._hash.hexdigest())

    def holds(self, tensor: ir.TensorProtocol) -> bool:
        """Returns whether a tensor refers to this file."""
        return isinstance(tensor, ir.ExternalTensor) and (
            Path(tensor.path) == self._folder / self._file_name
        )

    def add(
        self, name: str, values: npt.NDArray[Any], dtype: ir.DataType | None = None
    ) -> ir.TensorProtocol:
        """Writes a tensor and returns what the graph refers to.

        Args:
            name: The tensor's name.
            values: The values. For INT4 and UINT4 each byte holds one 4-bit number.
            dtype: The tensor's dtype; by default that of `values`.

        Returns:
            A reference into the file, or the tensor itself if it has at most INLINE_BYTES.
        """
        dtype = ir.DataType.from_numpy(values.dtype) if dtype is None else dtype
        shape = ir.Shape(values.shape)
        stored = pack_int4(values) if dtype.bitwidth == 4 else np.ascontiguousarray(values)
        if stored.nbytes > INLINE_BYTES:
            offset = self._reserve(stored.nbytes)
            self._write(stored, offset)
            self._fill(stored.nbytes)
            return self._place(name, offset, stored.nbytes, dtype, shape)
        if dtype.bitwidth == 4:
            return ir.PackedTensor(stored, dtype, shape=shape, name=name)
        # `ascontiguousarray` turned a scalar into a vector of one
        return ir.tensor(stored.reshape(values.shape).copy(), dtype=dtype, name=name)

    def copy(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """Copies an external tensor into this file, block by block; returns others unchanged.

        Raises:
            OmnijetError: The tensor's file is shorter than the graph says.
        """
        if not isinstance(tensor, ir.ExternalTensor):
            return tensor
        size = int(tensor.nbytes)
        offset = self._reserve(size)
        offset_in_file = tensor.offset or 0
        with open(tensor.path, "rb") as source:
            source.seek(offset_in_file)
            for start in range(0, size, COPY_BYTES):
                block = source.read(min(COPY_BYTES, size - start))
                if len(block) < min(COPY_BYTES, size - start):
                    raise cut_short(
                        tensor.path, offset_in_file + size, os.path.getsize(tensor.path)
                    )
                self._write(np.frombuffer(block, np.uint8), offset + start)
        self._fill(size)
        return self._place(str(tensor.name), offset, size, tensor.dtype, tensor.shape)

    def _write(self, data: npt.NDArray[Any], offset: int) -> None:
        pwrite(self._file.fileno(), data, offset)
        if self._hash is not None:
            self._hash.update(data.reshape(-1).view(np.uint8).data)

    def _fill(self, size: int) -> None:
        """Hashes the zeros that fill the last page of a tensor; the file has a hole there."""
        if self._hash is not None:
            self._hash.update(bytes(-size % PAGE))

    def _reserve(self, size: int) -> int:
        offset = self._offset
        self._offset += -(-size // PAGE) * PAGE
        return offset

    def _place(
        self, name: str, offset: int, size: int, dtype: ir.DataType, shape: Any
    ) -> ir.ExternalTensor:
        return ir.ExternalTensor(
            self._file_name, offset, size, dtype, shape=shape, name=name, base_dir=self._folder
        )


def pack_int4(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Packs 4-bit numbers, one per byte, into two per byte: u8[n / 2].

    This is the layout of INT4 and UINT4 in ONNX: the first number is in the low half, and
    rows follow each other without padding.
    """
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    flat = flat & np.uint8(0x0F)
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    result: npt.NDArray[np.uint8] = flat[0::2] | (flat[1::2] << np.uint8(4))
    return result


def pwrite(descriptor: int, data: npt.NDArray[Any], offset: int) -> None:
    """Writes all bytes of `data`; one system call may write fewer, on a nearly full disk say."""
    view = data.reshape(-1).view(np.uint8).data
    done = os.pwrite(descriptor, view, offset)
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


def cut_short(path: str | os.PathLike[str], needed: int, got: int) -> OmnijetError:
    """The error of a weight file that has fewer bytes than its graph says."""
    return OmnijetError(
        "a weight file ends before its last tensor",
        where=path,
        expected=f"{needed} bytes or more",
        got=f"{got} bytes",
        fix="run `omnijet check` on the bundle; export it again",
    )
