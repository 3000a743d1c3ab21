"""Reads a safetensors file without mapping it: its header, then bytes on demand.

The format: 8 bytes of header length, little endian; a JSON object of tensors with dtype,
shape and `data_offsets` from the end of the header; the tensors' bytes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omnijet.runtime.errors import OmnijetError

_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library
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
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(len(_LFS_POINTER))
            if start == _LFS_POINTER:
                raise _damaged(
                    path, "a Git LFS pointer", "fetch the weights themselves: git lfs pull"
                )
            length = int.from_bytes(start[:8], "little")
            if len(start) < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise _damaged(path, f"no safetensors header in {size} bytes")
            file.seek(8)
            header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is not JSON ({error})") from error
    except OSError as error:
        raise OmnijetError(
            "a weight file cannot be read", where=path, got=error.strerror or error
        ) from error
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


def _entry(path: Path, key: str, fields: Any, data: int) -> Entry:
    try:
        dtype, shape = str(fields["dtype"]).lower(), tuple(fields["shape"])
        begin, end = fields["data_offsets"]
        numbers = (*shape, begin, end)
        sane = all(type(n) is int and n >= 0 for n in numbers) and begin <= end
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"a header without dtype, shape or offsets of {key}") from error
    if dtype in TORCH_DTYPES:
        sane = sane and end - begin == math.prod(shape) * TORCH_DTYPES[dtype].itemsize
    if not sane:
        raise _damaged(path, f"{key}: {dtype}{list(shape)} in bytes {begin} to {end}")
    return Entry(shape, dtype, path, data + begin, end - begin)


def _damaged(path: Path, got: str, fix: str = _DOWNLOAD_AGAIN) -> OmnijetError:
    return OmnijetError(
        "a weight file is damaged", where=path, expected="safetensors", got=got, fix=fix
    )
