"""Optimization profiles: the sizes that an engine is built for.

A profile holds the smallest, usual and largest size of each symbol of the contract; the builder
chooses kernels for the usual size. A profile of a single size gets the best kernels. Each profile
adds to the time of the build and to the size of the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from omnijet.engines.recorder import Recorder
from omnijet.engines.targets.toolkits import Library
from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.model.decoder import PICKED_ROWS, PREFILL_ROWS, SMALLEST_BUCKET
from omnijet.runtime.model.encoders import MAX_CHUNKS
from omnijet.runtime.speech.presets import PRESETS, SpeechPreset
from omnijet.runtime.speech.vocoder import VocoderStream
from omnijet.runtime.speech.windows import Window

Profile = dict[str, tuple[int, ...]]
"""Symbol -> (smallest, usual, largest)."""

USUAL: Mapping[str, int] = {
    "chunks": 3, "tokens": 125,  # 5 s of sound
    "cells": 256, "windows": 16, "pictures": 1, "picture_cells": 256,  # 448 x 448 pixels
    "rows": 256, "picked": 1, "capacity": 2048,
}  # fmt: skip
"""Sizes of a typical call. The sizes of speech synthesis follow from its windows."""

RUNTIME_MOST: Mapping[str, int] = {
    "rows": PREFILL_ROWS, "picked": PICKED_ROWS, "chunks": MAX_CHUNKS,
}  # fmt: skip
"""Largest sizes that the runtime ever asks for, whatever the limits."""

COMMON = PRESETS["exact"]
"""The default speech preset; engines get profiles for its windows."""

FIXES_COMMON: Mapping[Library, bool] = {
    "tensorrt": True,
    "tensorrt_rtx": False,
    "onnxruntime": False,
}
"""Whether common sizes (a step of one row, each window) get profiles of their own.

TensorRT-RTX compiles kernels on the device for the sizes that it meets there, so a further profile
costs more than it gains. A profile for one row stored the weights of all decoder layers twice
(2 layers of 3B: 0.93 to 1.24 GB). Profiles for four windows doubled the DiT's build and engine
(nano: 32 to 65 s, 13 to 31 MB) and tripled the vocoder's (15 to 46 s, 5 to 14 MB).
"""


def profiles_for(
    contract: GraphContract,
    limits: Mapping[str, int],
    library: Library,
    block: int,
    grows: bool = False,
) -> tuple[Profile, ...]:
    """Returns the profiles in the engine's order: single sizes first, the whole range last.

    Args:
        limits: largest size of each symbol.
        block: mel frames of an attention block of the DiT.
        grows: whether the KV caches have any length up to `capacity`, as where an engine does not
            update them in place; else they have that length.
    """
    windows = _common_windows(contract, block)
    one_row = {symbol: 1 for symbol in contract.symbols if symbol in ("rows", "picked")}
    steps = [one_row] if one_row else []
    fixed = steps + windows if FIXES_COMMON[library] else []
    usual = {**USUAL, **(windows[-1] if windows else {})}
    most = {s: min(limits[s], RUNTIME_MOST.get(s, limits[s])) for s in contract.symbols}
    if "capacity" in most:  # the runtime never feeds more rows than fit in the KV cache
        most["rows"] = min(most["rows"], most["capacity"])
    if "picked" in most:
        most["picked"] = min(most["picked"], most["rows"])
    within = [sizes for sizes in fixed if all(size <= most[s] for s, size in sizes.items())]
    profiles: list[Profile] = [
        {s: (sizes.get(s, most[s]),) * 3 for s in contract.symbols} for sizes in within
    ]
    profiles.append({symbol: _range(symbol, usual, largest) for symbol, largest in most.items()})
    if "capacity" in most:
        lengths = _range("capacity", usual, most["capacity"])
        if not grows:  # TensorRT updates only caches of a fixed length in place
            lengths = (most["capacity"],) * 3
        profiles = [{**profile, "capacity": lengths} for profile in profiles]
    return tuple(profiles)


def _range(symbol: str, usual: Mapping[str, int], largest: int) -> tuple[int, int, int]:
    least = min(SMALLEST_BUCKET, largest) if symbol == "capacity" else 1
    return least, min(usual[symbol], largest), largest


def _common_windows(contract: GraphContract, block: int) -> list[dict[str, int]]:
    """Returns the sizes that recur in every utterance, the longest last."""
    if "blocks" in contract.symbols:
        return [{"branches": branches, "blocks": blocks} for branches, blocks in dit_sizes(COMMON)]
    if "frames" in contract.symbols:
        return [{"frames": frames} for frames in vocoder_sizes(COMMON, block)]
    return []


def block_of(dims: ModelDims) -> int:
    """Returns the mel frames of a block, which windows of speech have; 1 without a voice."""
    return 1 if dims.speech is None else dims.speech.dit.block


def dit_sizes(preset: SpeechPreset) -> list[tuple[int, int]]:
    """Returns (branches, blocks) of the regular windows of a preset, shortest first.

    The last window of an utterance can have any length.
    """
    branches = {evaluation.branches for evaluation in preset.solver.evaluations}
    blocks = {window.stop - window.start for window in _windows(preset, block=1)}
    return sorted(product(branches, blocks), key=lambda sizes: sizes[::-1])


def vocoder_sizes(preset: SpeechPreset, block: int) -> list[int]:
    """Returns the frames of the vocoder's regular calls for a preset, shortest first."""
    graph = Recorder()
    stream = VocoderStream(Bindings(graph), preset.context)
    for window in _windows(preset, block):
        new, ahead = np.zeros((1, window.end - window.begin), np.float32), None
        if preset.guess:
            ahead = np.zeros((1, window.stop - window.end), np.float32)
        stream.push(new, ahead)
    return sorted(set(graph.frames))


def _windows(preset: SpeechPreset, block: int) -> Iterator[Window]:
    """Yields windows until both their sizes and the vocoder's context repeat."""
    scheme = preset.windows
    begin, settled = 0, scheme.past + preset.context + 1
    for number in range(len(scheme.chunks) + settled):
        window = scheme.window(number, begin, 1 << 60, block, last=False)
        assert window is not None
        yield window
        begin = window.end
