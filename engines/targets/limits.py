"""Largest sizes of inputs by default, from a machine's memory and its bandwidth: arithmetic,
nothing measured.

Shares of the memory are decisions: a tenth for caches, a thirty-second for what a step holds in
between; weights, the system and what the camera shows need the rest. Machines from 16 GB on are
thought of with the 7B, smaller ones with the 3B.

Attention of an engine reads the whole capacity at every step, filled or not, and a decomposed
graph moves each cache three times: a choice reads the old one and writes the new one, attention
reads that. So the caches of Thinker and Talker may take at most an eighth of a codec token's
20 ms at the peak of the memory: rows x row_bytes x (1 or 3) <= 2.5 ms x bandwidth. Of Thor, 273
GB/s, with the 7B: 682 MB a step, 6,408 rows, so 4,096 of them; decomposed, 2,136, so 2,048.

No bandwidth makes them fewer than 2,048, though those cost more than an eighth on the slowest
(6.4 ms on an Orin NX with the 7B, decomposed): 40 s of speech are 2,000 rows of the Talker, a
minute of sound 60 x 25 = 1,500. This is the trade: a clip has a picture a second of 128 cells or
more besides, so that 2,048 rows hold 13 s of it, 4,096 hold 26 s, and a minute takes 9,180. Who
asks about such clips builds with `--limit capacity=16384` and pays for it at every step, of a
short conversation too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.engines.targets.toolkits import Flavour
from omnijet.runtime.model.encoders import MAX_CHUNKS
from omnijet.runtime.speech.vocoder import EXACT_CONTEXT
from omnijet.runtime.speech.windows import SCHEMES

CACHES = 1 / 10
CACHES_SECONDS = 0.020 / 8
"""Of a codec token's 20 ms, for moving caches."""
MOVES: Mapping[Flavour, int] = {"native": 1, "decomposed": 3, "cpu": 1}
"""How often a step moves each cache through memory."""
LEAST_CAPACITY = 2048
STEP = 1 / 32
SCORES = 1 / 8
"""Of the memory: scores of one picture, where they are in memory at all."""

BLOCK_FRAMES = 24  # mel frames of an attention block of the DiT
CHUNK_TOKENS = 50  # audio tokens of 2 s
BRANCHES = 2  # of guidance
VISION_HEADS, CELL_PATCHES = 16, 4
CELL_BYTES = CELL_PATCHES * (2 * 3420 + 3 * 1280 + 4 * 1280) * 4
"""What a layer of the vision encoder holds of one cell in f32: gate and up, q, k, v, the stream."""
LONGEST = 32_768
"""Positions that the Thinker was trained on."""
MOST_CELLS = 12_845_056 // 28**2
"""Of the largest picture that preprocessing leaves as it is."""
MOST_ROWS = 2048
"""More rows at once make no product faster."""


@dataclass(frozen=True, slots=True)
class Size:
    """What limits depend on. Sources: the `config.json` of Qwen2.5-Omni 3B and 7B.

    Attributes:
        row_bytes: of Thinker's and Talker's caches, f16: layers x kv_heads x head_dim x 2 x 2 B.
        heads: of the Thinker.
        ffn: of the Thinker.
    """

    row_bytes: int
    heads: int
    ffn: int


SMALL = Size(36 * 2 * 128 * 2 * 2 + 24 * 2 * 64 * 2 * 2, 16, 11_008)  # 36,864 + 12,288 bytes
LARGE = Size(28 * 4 * 128 * 2 * 2 + 24 * 4 * 128 * 2 * 2, 28, 18_944)  # 57,344 + 49,152 bytes
LARGE_SINCE_GB = 16


def limits_for(
    memory_gb: float | None, flavour: Flavour, bandwidth_gb_s: float | None = None
) -> Mapping[str, int]:
    """Largest size of each symbol of `AXES` of the contract; of an unknown memory as of
    8 GB, of an unknown bandwidth as of one that is no bound."""
    memory = 1e9 * (8 if memory_gb is None else memory_gb)
    size = LARGE if memory >= 1e9 * LARGE_SINCE_GB else SMALL
    capacity = _capacity(memory, bandwidth_gb_s, size, flavour)
    cells = _cells(memory, flavour)
    blocks = max(scheme.past + max(scheme.chunks) + scheme.ahead for scheme in SCHEMES)
    return {
        "rows": _rows(memory, size, capacity, flavour),
        "capacity": capacity,
        "cells": cells,
        "windows": windows_of(cells),
        "chunks": MAX_CHUNKS,
        "tokens": MAX_CHUNKS * CHUNK_TOKENS,
        "branches": BRANCHES,
        "blocks": blocks,
        "frames": blocks * BLOCK_FRAMES + 2 * EXACT_CONTEXT,
    }


def windows_of(cells: int) -> int:
    """Of 4 x 4 cells, in a picture of so many; most where it is one cell high."""
    return cells // 4 + 1


def _capacity(memory: float, bandwidth_gb_s: float | None, size: Size, flavour: Flavour) -> int:
    """Rows of the caches. A decomposed graph reads one set and writes another."""
    sets = 2 if flavour == "decomposed" else 1
    rows = CACHES * memory / (size.row_bytes * sets)
    if bandwidth_gb_s is not None:
        moved = CACHES_SECONDS * 1e9 * bandwidth_gb_s / (size.row_bytes * MOVES[flavour])
        rows = min(rows, max(moved, LEAST_CAPACITY))
    return min(_power_of_two(rows), LONGEST)


def _rows(memory: float, size: Size, capacity: int, flavour: Flavour) -> int:
    """Of one prefill step: gate and up in f32, and scores in f32 and f16 where they are in
    memory."""
    held = 2 * size.ffn * 4
    if flavour != "native":
        held += size.heads * capacity * (4 + 2)
    return min(_power_of_two(STEP * memory / held), MOST_ROWS, capacity)


def _cells(memory: float, flavour: Flavour) -> int:
    """Of one picture. TensorRT 10.3 may not fuse its attention: scores and shares in f16 are
    16 heads x (4 x cells) squared x 2 x 2 bytes then."""
    cells = STEP * memory / CELL_BYTES
    if flavour == "decomposed":
        squared = VISION_HEADS * CELL_PATCHES**2 * 2 * 2
        cells = min(cells, (SCORES * memory / squared) ** 0.5)
    return min(int(cells) // 64 * 64, MOST_CELLS)


def _power_of_two(most: float) -> int:
    return 1 << (int(most).bit_length() - 1)
