"""Ranges of the limits: the least and the largest size of each symbol, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.engines.targets.limits import BRANCHES, longest_window, windows_of
from omnijet.runtime.bundle.contract import graph_contracts
from omnijet.runtime.bundle.dims import ModelDims, SpeechDims
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.encoders import JOINED_CELLS, MAX_CHUNKS
from omnijet.runtime.speech.vocoder import EXACT_CONTEXT


@dataclass(frozen=True, slots=True)
class Range:
    """The sizes that a limit may have.

    Attributes:
        why: reason for both ends, in words.
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
    joins_pictures: bool = True,
) -> dict[str, int]:
    """Returns a target's limits with the given ones, and with what follows from these.

    Limits of graphs that the model does not have are left out.

    Args:
        joins_pictures: whether a call of the vision encoder takes several; not in older bundles.

    Raises:
        OmnijetError: a given limit is unknown or outside its range.
    """
    # the axes are those of every precision
    contracts = graph_contracts(dims, "f32", joins_pictures=joins_pictures).values()
    symbols = {symbol for contract in contracts for symbol in contract.symbols}
    target = {symbol: size for symbol, size in target.items() if symbol in symbols}
    unknown = sorted(set(given) - set(target))
    if unknown:
        raise OmnijetError(
            f"there is no limit {unknown[0]!r}", where="--limit", expected=", ".join(target)
        )
    limits = {**target, "capacity": min(target["capacity"], _positions(dims)), **given}
    followed = {
        "rows": min(limits["rows"], limits["capacity"]),
        "picked": min(limits["picked"], limits["rows"], limits["capacity"]),
        "tokens": dims.audio.chunk_tokens * limits["chunks"],
        "windows": windows_of(limits["cells"], max(limits.get("pictures", 1), 1)),
        **({"picture_cells": limits["cells"]} if joins_pictures else {}),
    }
    limits |= {symbol: size for symbol, size in followed.items() if symbol not in given}
    ranges = ranges_of(limits, dims, preprocessing)
    for symbol, size in given.items():
        allowed = ranges[symbol]
        if not allowed.least <= size <= allowed.most:
            raise OmnijetError(
                f"{size} is outside the range of {symbol}",
                where=f"--limit {symbol}={size}",
                expected=str(allowed),
                got=size,
                fix=f"choose within, or leave --limit {symbol} out",
            )
    return limits


def ranges_of(
    limits: Mapping[str, int], dims: ModelDims, preprocessing: Preprocessing
) -> dict[str, Range]:
    """Returns the range of each symbol of the model's graphs; some depend on other limits."""
    chunks, cells, pictures = limits["chunks"], limits["cells"], limits.get("pictures", 1)
    cell = preprocessing.factor**2
    least = min(preprocessing.image_min_pixels, preprocessing.video_min_pixels) // cell
    joined = max(min(JOINED_CELLS, cells) // least, 1)
    windows = Range(
        -(-cells // dims.vision.window_cells**2), cells,
        f"{cells} cells are in at least and at most so many: set cells",
    )  # fmt: skip
    if pictures > 1:
        size = windows_of(cells, pictures)
        windows = Range(size, size, f"{pictures} pictures have as many windows each: set cells")
    largest = int(max(preprocessing.image_max_pixels, preprocessing.video_max_pixels)) // cell
    tokens = dims.audio.chunk_tokens * chunks
    ranges = {
        "chunks": Range(1, MAX_CHUNKS, f"the runtime gives at most {MAX_CHUNKS} at once"),
        "tokens": Range(tokens, tokens, f"{chunks} chunks give so many: set chunks"),
        "cells": Range(least, largest, "the smallest and the largest picture have so many"),
        "pictures": Range(1, joined, f"the runtime gives at most {JOINED_CELLS:,} cells at once"),
        "picture_cells": Range(cells, cells, "one picture may be all of a call: set cells"),
        "windows": windows,
        "rows": Range(1, limits["capacity"], "more than the capacity never fit in the caches"),
        "picked": Range(1, limits["rows"], "only rows of the same call can be picked"),
        "capacity": Range(1, _positions(dims), "the model knows no more positions"),
    }  # fmt: skip
    ranges = {symbol: one for symbol, one in ranges.items() if symbol in limits}
    return ranges if dims.speech is None else ranges | _speech(dims.speech)


def _speech(dims: SpeechDims) -> dict[str, Range]:
    block, blocks = dims.dit.block, longest_window()
    frames = dims.talker.max_positions * dims.dit.repeats
    return {
        "branches": Range(BRANCHES, BRANCHES, "guidance is the difference of two"),
        "blocks": Range(blocks, -(-frames // block), "windows of the presets have so many"),
        "frames": Range(
            blocks * block + 2 * EXACT_CONTEXT, frames,
            "the vocoder takes a window of a preset with its context on both sides",
        ),
    }  # fmt: skip


def _positions(dims: ModelDims) -> int:
    decoders = [dims.thinker] if dims.speech is None else [dims.thinker, dims.speech.talker]
    return min(decoder.max_positions for decoder in decoders)
