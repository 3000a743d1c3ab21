"""Reads a safetensors file without mapping it: its header, then bytes on demand.

The format: 8 bytes of header length, little endian; a JSON object of tensors with dtype,
shape and `data_offsets` from the end of the header; the tensors' bytes.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile, open_regular
from omnijet.runtime.files.json_text import parsed

_LONGEST_HEADER = 16 << 20  # bytes; the published 7B model has 70,000 in its longest
_MOST_AXES = 8
_MOST = 1 << 48  # of an axis or an offset
_LONGEST_NAME = 500
_PLAIN_DTYPE = re.compile(r"[a-z0-9_]{1,16}")
_LFS_POINTER = b"version https://git-lfs"
_DOWNLOAD_AGAIN = "download the checkpoint again"

FLOAT_DTYPES: dict[str, torch.dtype] = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "f32": torch.float32,
}
TORCH_DTYPES = {**FLOAT_DTYPES, "i32": torch.int32}
"""The readable dtypes; i32 holds packed weights."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The shape, dtype and position of one stored tensor."""

    shape: tuple[int, ...]
    dtype: str  # the header's dtype in lower case: bf16, f16, f32, i8, ...
    path: Path
    offset: int  # first byte in the file
    nbytes: int


def read_header(path: Path) -> dict[str, Entry]:
    """Reads the entries of all tensors of a file.

    Raises:
        OmnijetError: The file is damaged, truncated, or no safetensors file.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(len(_LFS_POINTER))
            if start == _LFS_POINTER:
                raise _damaged(
                    path, "a Git LFS pointer", "fetch the weights themselves: git lfs pull"
                )
            length = int.from_bytes(start[:8], "little")
            if len(start) < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise _damaged(path, f"no safetensors header in {size} bytes")
            file.seek(8)
            content = file.read(length)
    except BadFile as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise OmnijetError(
            "a weight file cannot be read", where=path, got=error.strerror or error
        ) from error
    try:
        header = parsed(content)
    except BadFile as error:
        raise _damaged(path, f"a header that is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _damaged(path, "a header that is not a JSON object")
    header.pop("__metadata__", None)
    entries = {key: _entry(path, key, fields, 8 + length) for key, fields in header.items()}
    end = max((entry.offset + entry.nbytes for entry in entries.values()), default=8 + length)
    if end > size:
        raise OmnijetError(
            "a weight file is truncated",
            where=path,
            expected=f"{end} bytes",
            got=f"{size} bytes",
            fix=_DOWNLOAD_AGAIN,
        )
    _check_places(path, entries, 8 + length, size)
    return entries


def read_tensor(entry: Entry, start: int | None = None, stop: int | None = None) -> Tensor:
    """Reads a tensor in its stored dtype, or only its rows `start` to `stop`.

    Raises:
        OmnijetError: The file disappeared or shrank after its header was read.
    """
    dtype = TORCH_DTYPES[entry.dtype]
    offset, nbytes, shape = entry.offset, entry.nbytes, entry.shape
    if start is not None and stop is not None:
        assert 0 <= start <= stop <= shape[0], (start, stop, shape)
        row = math.prod(shape[1:]) * dtype.itemsize
        offset, nbytes, shape = (
            offset + start * row,
            (stop - start) * row,
            (stop - start, *shape[1:]),
        )
    buffer = torch.empty(nbytes, dtype=torch.uint8)
    view = buffer.numpy().data
    done = 0
    try:
        with open(entry.path, "rb", buffering=0) as file:
            file.seek(offset)
            while done < nbytes:
                count = file.readinto(view[done:])
                if not count:
                    raise _damaged(entry.path, "fewer bytes than its header announced")
                done += count
    except OSError as error:
        raise OmnijetError(
            "a weight file cannot be read", where=entry.path, got=error.strerror or error
        ) from error
    return buffer.view(dtype).reshape(shape)


def _check_places(path: Path, entries: dict[str, Entry], start: int, size: int) -> None:
    """Raises `OmnijetError` unless tensors lie one after the other and fill the file."""
    places = sorted((e.offset, e.offset + e.nbytes, key) for key, e in entries.items())
    around = [(start, start, "the header"), *places, (size, size, "the end of the file")]
    for (_, end, before), (begin, _, after) in pairwise(around):
        if end != begin:
            what = "bytes of nothing between" if end < begin else "bytes in common of"
            raise _damaged(path, f"{abs(begin - end)} {what} {before} and {after}")


def _entry(path: Path, key: str, fields: Any, data: int) -> Entry:
    if not 0 < len(key) <= _LONGEST_NAME or not key.isprintable():
        raise _damaged(path, f"a tensor that is called {key[:100]!a}")
    try:
        dtype, shape = str(fields["dtype"])[:17].lower(), tuple(fields["shape"][:_MOST_AXES])
        begin, end = fields["data_offsets"]
        numbers = (*shape, begin, end)
        sane = all(type(n) is int and 0 <= n < _MOST for n in numbers) and begin <= end
        sane = sane and len(shape) == len(fields["shape"]) and bool(_PLAIN_DTYPE.fullmatch(dtype))
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(path, f"a header without dtype, shape or offsets of {key}") from error
    if dtype in TORCH_DTYPES:
        sane = sane and end - begin == math.prod(shape) * TORCH_DTYPES[dtype].itemsize
    if not sane:
        told = f"{key}: {dtype}{list(shape)} in bytes {begin} to {end}"
        raise _damaged(path, told if len(told) < 1000 else f"{key}: no shape and place")
    return Entry(shape, dtype, path, data + begin, end - begin)


def _damaged(path: Path, got: str, fix: str = _DOWNLOAD_AGAIN) -> OmnijetError:
    return OmnijetError(
        "a weight file is damaged", where=path, expected="safetensors", got=got, fix=fix
    )
