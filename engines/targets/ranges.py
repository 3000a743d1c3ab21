"""What limits may be: a least and a largest size of each symbol, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.engines.targets.limits import BRANCHES, windows_of
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.encoders import MAX_CHUNKS
from omnijet.runtime.speech.synthesis import PRESETS
from omnijet.runtime.speech.vocoder import EXACT_CONTEXT


@dataclass(frozen=True, slots=True)
class Range:
    """Sizes that a limit may have.

    Attributes:
        why: it is neither less nor more, in words.
    """

    least: int
    most: int
    why: str

    def __str__(self) -> str:
        ends = dict.fromkeys((self.least, self.most))
        return f"{' to '.join(map(str, ends))}: {self.why}"


def limits_with(
    target: Mapping[str, int],
    given: Mapping[str, int],
    dims: ModelDims,
    preprocessing: Preprocessing,
) -> dict[str, int]:
    """A target's limits with some in their place, and what follows from those.

    Raises:
        OmnijetError: a given one is unknown, or beyond its range.
    """
    unknown = sorted(set(given) - set(target))
    if unknown:
        raise OmnijetError(
            f"there is no limit {unknown[0]!r}", where="--limit", expected=", ".join(target)
        )
    limits = {**target, "capacity": min(target["capacity"], _positions(dims)), **given}
    followed = {
        "rows": min(limits["rows"], limits["capacity"]),
        "tokens": dims.audio.chunk_tokens * limits["chunks"],
        "windows": windows_of(limits["cells"]),
    }
    limits |= {symbol: size for symbol, size in followed.items() if symbol not in given}
    ranges = ranges_of(limits, dims, preprocessing)
    for symbol, size in given.items():
        allowed = ranges[symbol]
        if not allowed.least <= size <= allowed.most:
            raise OmnijetError(
                f"no engine of use has {size} {symbol}",
                where=f"--limit {symbol}={size}",
                expected=str(allowed),
                got=size,
                fix=f"choose within, or leave --limit {symbol} out",
            )
    return limits


def ranges_of(
    limits: Mapping[str, int], dims: ModelDims, preprocessing: Preprocessing
) -> dict[str, Range]:
    """Of each symbol of `AXES` of the contract, some of them by the limits of others."""
    chunks, cells, block = limits["chunks"], limits["cells"], dims.dit.block
    cell = preprocessing.factor**2
    pictures = min(preprocessing.image_min_pixels, preprocessing.video_min_pixels) // cell
    largest = int(max(preprocessing.image_max_pixels, preprocessing.video_max_pixels)) // cell
    tokens = dims.audio.chunk_tokens * chunks
    schemes = [preset.windows for preset in PRESETS.values()]
    blocks = max(scheme.past + max(scheme.chunks) + scheme.ahead for scheme in schemes)
    frames = dims.talker.max_positions * dims.dit.repeats
    return {
        "chunks": Range(1, MAX_CHUNKS, f"the runtime gives at most {MAX_CHUNKS} at once"),
        "tokens": Range(tokens, tokens, f"{chunks} chunks give so many: set chunks"),
        "cells": Range(pictures, largest, "the smallest and the largest picture have so many"),
        "windows": Range(
            -(-cells // dims.vision.window_cells**2), cells,
            f"{cells} cells are in at least and at most so many: set cells",
        ),
        "rows": Range(1, limits["capacity"], "more than the capacity never fit in the caches"),
        "capacity": Range(1, _positions(dims), "the model knows no more positions"),
        "branches": Range(BRANCHES, BRANCHES, "guidance is the difference of two"),
        "blocks": Range(blocks, -(-frames // block), "windows of the presets have so many"),
        "frames": Range(
            blocks * block + 2 * EXACT_CONTEXT, frames,
            "the vocoder takes a window of a preset with its context on both sides",
        ),
    }  # fmt: skip


def _positions(dims: ModelDims) -> int:
    return min(dims.thinker.max_positions, dims.talker.max_positions)
