"""Reads `.npy` and `.npz` files from strangers: checked headers, sizes that agree with them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from omnijet.runtime.files.archive import UNREADABLE
from omnijet.runtime.files.bounded import BadFile, open_regular
from omnijet.runtime.files.stored_archive import open_stored

MOST_HEADER = 4096  # bytes; numpy writes 118
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[A-Za-z][0-9]{0,12})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,15}, ?){0,64}(?:[0-9]{1,15})?)\), \}\s*"
)
MOST_AXES = 8
MOST_MEMBERS = 20_000
_ENDING = ".npy"


def mapped_array(path: Path, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Maps a `.npy` file of this shape and dtype, as numpy names it, read-only.

    Raises:
        OSError: the file cannot be read.
        BadFile: it is no such file, or not of this dtype, shape and size.
    """
    with open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        found, dimensions = _header(file)
        offset = file.tell()
        if found.name != dtype or not found.isnative or dimensions != shape:
            raise BadFile(f"{found}{list(dimensions)}")
        needed = offset + math.prod(shape) * found.itemsize
        if size != needed:
            raise BadFile(f"{size:,} bytes, not {needed:,}")
        if needed == offset:
            return np.empty(shape, found)
        return np.memmap(file, found, "r", offset, shape)


def read_archive_of_arrays(path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yields the arrays, read-only, of a `.npz` file that is not compressed, with their names.

    Raises:
        OSError: the file cannot be read.
        BadFile: it is no such file.
    """
    with (
        open_regular(path) as file,
        open_stored(file, MOST_MEMBERS) as archive,
    ):
        for name in archive.namelist():
            if not name.endswith(_ENDING):
                raise BadFile(f"a member that is called {name!r}, which is no array")
            try:
                content = archive.read(name)
            except UNREADABLE as error:
                raise BadFile(f"a damaged member {name!r}: {error}") from error
            yield name.removesuffix(_ENDING), _array(content)


def _array(content: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(content)
    dtype, shape = _header(file)
    if len(content) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise BadFile(f"{len(content):,} bytes for {dtype}{list(shape)}")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)


def _header(file: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Reads up to the first number; raises `BadFile` if it is not as numpy writes plain arrays."""
    start = file.read(10)
    length = int.from_bytes(start[8:], "little")
    if len(start) < 10 or start[:8] != _MAGIC or length > MOST_HEADER:
        raise BadFile("no .npy file of version 1.0" if start else "an empty file")
    match = _HEADER.fullmatch(file.read(length))
    if match is None:
        raise BadFile("a header that is not that of a plain array")
    kind, by_columns, axes = (group.decode("ascii") for group in match.groups())
    shape = tuple(int(axis) for axis in axes.split(",") if axis.strip())
    try:
        dtype = np.dtype(kind)
    except (TypeError, ValueError) as error:
        raise BadFile(f"the dtype {kind}") from error
    if by_columns == "True" or dtype.hasobject or dtype.itemsize == 0 or len(shape) > MOST_AXES:
        by = " stored by columns" if by_columns == "True" else ""
        raise BadFile(f"{dtype}{list(shape)}{by}")
    return dtype, shape
