"""Refuses weights that are not numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from omnijet.export.checkpoint.shard import FLOAT_DTYPES, Entry
from omnijet.export.checkpoint.weight_files import listed
from omnijet.runtime.errors import OmnijetError

_BLOCK_VALUES = 16 << 20
Read = Callable[[str, int, int], Tensor]
"""Reads rows of a weight."""
Origins = Callable[[str], Iterable[str]]
"""Names the adapters that change a weight."""


def finite(value: Tensor) -> bool:
    """Returns whether no value is NaN or infinite; integers never are."""
    if not value.is_floating_point() or value.numel() == 0:
        return True
    # both are NaN if any value is; 40 times as fast as `isfinite` of every value
    low, high = torch.aminmax(value)
    return math.isfinite(low.item()) and math.isfinite(high.item())


def first_odd(value: Tensor, start: int = 0) -> str | None:
    """Says which is the first value that is NaN or infinite; None if there is none.

    Args:
        value: Rows of a tensor.
        start: The index of the first row.
    """
    if finite(value):
        return None
    place = (~torch.isfinite(value)).nonzero()[0].tolist()
    index = [start + place[0], *place[1:]] if place else []
    return f"{value[tuple(place)].item():g} at {index}"


def not_finite(
    folder: Path, entries: Mapping[str, Entry], read: Read, origins: Origins
) -> OmnijetError:
    """Looks through all weights, because one that is not finite is rarely the only one.

    Args:
        folder: The checkpoint, for the message.
        entries: Its tensors.
        read: Reads rows of one of them, with adapters merged.
        origins: Returns the adapters of a weight, for the message.
    """
    found = {key: where for key, entry in entries.items() if (where := _places(key, entry, read))}
    merged = sorted({origin for key in found for origin in origins(key)})
    return OmnijetError(
        f"{len(found)} of {len(entries)} weights have values that are not finite",
        where=folder if not merged else f"{folder} with {', '.join(merged)}",
        expected="numbers",
        got=listed([f"{key}: {where}" for key, where in found.items()], "\n            "),
        fix="download it again; if its training diverged, take an earlier checkpoint",
    )


def _places(key: str, entry: Entry, read: Read) -> str | None:
    """Says how many values of a weight are not finite, and which is the first."""
    shape = entry.shape
    if entry.dtype not in FLOAT_DTYPES or not shape:  # no weight of the model is a scalar
        return None
    step = max(1, _BLOCK_VALUES // max(1, math.prod(shape[1:])))
    count, first = 0, ""
    for start in range(0, shape[0], step):
        block = read(key, start, min(start + step, shape[0]))
        if place := first_odd(block, start):
            first = first or place
            count += int((~torch.isfinite(block)).sum())
    if not count:
        return None
    return first if count == 1 else f"{first}, {count} of {math.prod(shape)} values"
