"""Default limits: the largest sizes of inputs, computed from a machine's memory and bandwidth.

Nothing here is measured. The shares of memory are decisions: a tenth for the KV caches, a
thirty-second for the intermediate values of a step. The rest is for weights, the system and camera
pictures. Machines with 16 GB or more are sized for the 7B, smaller ones for the 3B.

Attention in an engine of TensorRT >= 10.15 reads the whole capacity at every step, filled or not:
caches that are updated in place have one length, rows are hidden by a mask, and the library is not
known to stop at the filled ones (`docs/attention.md`). The caches of Thinker and Talker may
therefore take at most an eighth of the 20 ms of a codec token at peak bandwidth:
rows x row_bytes <= 2.5 ms x bandwidth. Example: Thor has 273 GB/s, so the 7B may move 682 MB a
step, which is 6,408 rows, rounded down to 4,096.

The capacity is never less than 2,048 rows: 40 s of speech are 2,000 rows of the Talker, and a
minute of sound is 60 x 25 = 1,500 rows. Video needs more: with one picture a second of 128 cells or
more, 2,048 rows hold 13 s of it, 4,096 hold 26 s, and a minute takes 9,180. For such clips, build
with `--limit capacity=16384`; every step then costs more, in short conversations too.

A decomposed graph writes every row of its caches anew, from one buffer to another, and moves each
three times: it reads the old one, writes the new one, and attention reads the new one. In return
they may have any length, and grow as the conversation does: by doubling, so that at most half of
what moves is empty. Only memory limits them: two buffers, and more of them while they grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.engines.targets.toolkits import Flavour
from omnijet.runtime.model.decoder import PICKED_ROWS
from omnijet.runtime.model.encoders import MAX_CHUNKS
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.speech.vocoder import EXACT_CONTEXT

CACHES = 1 / 10
CACHES_SECONDS = 0.020 / 8
"""Seconds of each codec token's 20 ms for moving caches."""
GROWTH = 1.75
"""What caches that grow take in lengths of the largest: those of the last sequence are kept for the
next, which holds half of that length and a quarter when it grows to half."""
LEAST_CAPACITY = 2048
STEP = 1 / 32
SCORES = 1 / 8
"""Share of the memory for the attention scores of one picture, where they are stored."""

BLOCK_FRAMES = 24  # mel frames of an attention block of the DiT
CHUNK_TOKENS = 50  # audio tokens of 2 s
BRANCHES = 2  # of guidance
PICTURES = 1
"""Pictures in one call of an engine: for more, it reserves memory as if each were the largest."""
VISION_HEADS, CELL_PATCHES = 16, 4
CELL_BYTES = CELL_PATCHES * (2 * 3420 + 3 * 1280 + 4 * 1280) * 4
"""Bytes of one cell in a layer of the vision encoder, f32: gate and up, q, k, v, residual."""
LONGEST = 32_768
"""The most positions that the Thinker was trained on."""
MOST_CELLS = 12_845_056 // 28**2
"""Cells of the largest picture that preprocessing does not shrink."""
MOST_ROWS = 2048
"""The most rows of a prefill step: more do not make products faster."""


@dataclass(frozen=True, slots=True)
class Size:
    """Dimensions of a model that limits depend on. Source: its `config.json` (Qwen2.5-Omni).

    Attributes:
        row_bytes: bytes of a row of Thinker's and Talker's KV caches in f16: layers x kv_heads x
            head_dim x 2 x 2 B.
        heads: attention heads of the Thinker.
        ffn: hidden features of the Thinker's feed-forward.
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
    """Returns the largest size of each symbol of the contract's `AXES`.

    An unknown memory counts as 8 GB; an unknown bandwidth sets no bound.
    """
    memory = 1e9 * (8 if memory_gb is None else memory_gb)
    size = LARGE if memory >= 1e9 * LARGE_SINCE_GB else SMALL
    capacity = _capacity(memory, bandwidth_gb_s, size, flavour)
    cells = _cells(memory, flavour)
    blocks = longest_window()
    return {
        "rows": _rows(memory, size, capacity, flavour),
        "picked": PICKED_ROWS,
        "capacity": capacity,
        "cells": cells,
        "windows": windows_of(cells, PICTURES),
        "pictures": PICTURES,
        "picture_cells": cells,
        "chunks": MAX_CHUNKS,
        "tokens": MAX_CHUNKS * CHUNK_TOKENS,
        "branches": BRANCHES,
        "blocks": blocks,
        "frames": blocks * BLOCK_FRAMES + 2 * EXACT_CONTEXT,
    }


def longest_window() -> int:
    """Returns the attention blocks of the longest DiT window that a speech preset asks for."""
    schemes = [preset.windows for preset in PRESETS.values()]
    return max(scheme.past + max(scheme.chunks) + scheme.ahead for scheme in schemes)


def windows_of(cells: int, pictures: int) -> int:
    """Returns the most windows of 4 x 4 cells in pictures of so many cells together, a multiple of
    the pictures, because each has as many; pictures one cell high have most.
    """
    return -(-(cells // 4 + pictures) // pictures) * pictures


def _capacity(memory: float, bandwidth_gb_s: float | None, size: Size, flavour: Flavour) -> int:
    """Returns the rows of the caches. A decomposed graph needs two sets of them, and they grow."""
    grows = flavour == "decomposed"
    rows = CACHES * memory / (size.row_bytes * (2 * GROWTH if grows else 1))
    if bandwidth_gb_s is not None and not grows:
        moved = CACHES_SECONDS * 1e9 * bandwidth_gb_s / size.row_bytes
        rows = min(rows, max(moved, LEAST_CAPACITY))
    return min(_power_of_two(rows), LONGEST)


def _rows(memory: float, size: Size, capacity: int, flavour: Flavour) -> int:
    """Returns the rows of one prefill step, from the bytes that each row holds in memory: gate and
    up in f32, and unless attention is fused its scores in f32 and f16.
    """
    held = 2 * size.ffn * 4
    if flavour != "native":
        held += size.heads * capacity * (4 + 2)
    return min(_power_of_two(STEP * memory / held), MOST_ROWS, capacity)


def _cells(memory: float, flavour: Flavour) -> int:
    """Returns the cells of one picture. TensorRT 10.3 may not fuse the attention: scores and
    probabilities in f16 then take 16 heads x (4 x cells) squared x 2 x 2 bytes.
    """
    cells = STEP * memory / CELL_BYTES
    if flavour == "decomposed":
        squared = VISION_HEADS * CELL_PATCHES**2 * 2 * 2
        cells = min(cells, (SCORES * memory / squared) ** 0.5)
    return min(int(cells) // 64 * 64, MOST_CELLS)


def _power_of_two(most: float) -> int:
    return 1 << (int(most).bit_length() - 1)
