"""Which sizes an engine is built for: the contract's symbols with a target's limits.

A profile holds smallest, usual and largest size of each symbol; kernels are chosen for the
usual one. A profile of one size alone gets the best of them, and every profile costs its share
of the build and a plan of its own in the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from omnijet.engines.recorder import Recorder
from omnijet.engines.targets.toolkits import Library
from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.model.decoder import PREFILL_ROWS
from omnijet.runtime.model.encoders import MAX_CHUNKS
from omnijet.runtime.speech.synthesis import PRESETS, SpeechPreset
from omnijet.runtime.speech.vocoder import VocoderStream
from omnijet.runtime.speech.windows import Window

Profile = dict[str, tuple[int, ...]]
"""Symbol -> (smallest, usual, largest)."""

USUAL: Mapping[str, int] = {
    "chunks": 3, "tokens": 125,  # 5 s of sound
    "cells": 256, "windows": 16,  # a picture of 448 x 448 pixels
    "rows": 256,
}  # fmt: skip
"""What calls are mostly like. Those of sound synthesis follow from its windows."""

RUNTIME_MOST: Mapping[str, int] = {"rows": PREFILL_ROWS, "chunks": MAX_CHUNKS}
"""More the runtime never asks for, whatever the limits."""

COMMON = PRESETS["exact"]
"""What speaks unless told otherwise: its windows are the common ones."""

FIXES_COMMON: Mapping[Library, bool] = {"tensorrt": True, "tensorrt_rtx": False}
"""Whether common sizes get profiles of their own: a step of one row, each window.

TensorRT-RTX compiles kernels on the device, for the sizes that it meets there, and a further
profile costs more than it can bring: one for a row alone stored the weights of all decoder layers
a second time (2 layers of 3B: 0.93 to 1.24 GB), those for four windows doubled the DiT's build
and engine (nano: 32 to 65 s, 13 to 31 MB) and trebled the vocoder's (15 to 46 s, 5 to 14 MB).
"""


def profiles_for(
    contract: GraphContract, limits: Mapping[str, int], library: Library, block: int
) -> tuple[Profile, ...]:
    """In the engine's order: profiles of one size first, what takes all sizes last.

    Args:
        limits: largest size of each symbol; `capacity` is the cache's one length.
        block: mel frames of the DiT's attention blocks.
    """
    windows = _common_windows(contract, block)
    steps = [{"rows": 1}] if "rows" in contract.symbols else []
    fixed = steps + windows if FIXES_COMMON[library] else []
    usual = {**USUAL, **(windows[-1] if windows else {})}
    most = {s: min(limits[s], RUNTIME_MOST.get(s, limits[s])) for s in contract.symbols}
    if "capacity" in most:  # no more rows are fed than fit in the caches
        most["rows"] = min(most["rows"], most["capacity"])
    within = [sizes for sizes in fixed if all(size <= most[s] for s, size in sizes.items())]
    profiles: list[Profile] = [
        {s: (sizes.get(s, most[s]),) * 3 for s in contract.symbols} for sizes in within
    ]
    profiles.append({symbol: _range(symbol, usual, largest) for symbol, largest in most.items()})
    return tuple(profiles)


def _range(symbol: str, usual: Mapping[str, int], largest: int) -> tuple[int, int, int]:
    if symbol == "capacity":  # TensorRT updates caches of a fixed length only
        return largest, largest, largest
    return 1, min(usual[symbol], largest), largest


def _common_windows(contract: GraphContract, block: int) -> list[dict[str, int]]:
    """Sizes that return in every utterance, the longest last."""
    if "blocks" in contract.symbols:
        return [{"branches": branches, "blocks": blocks} for branches, blocks in dit_sizes(COMMON)]
    if "frames" in contract.symbols:
        return [{"frames": frames} for frames in vocoder_sizes(COMMON, block)]
    return []


def dit_sizes(preset: SpeechPreset) -> list[tuple[int, int]]:
    """(branches, blocks) of regular windows, shortest first. An utterance's last window is as
    long as it happens to be."""
    branches = {evaluation.branches for evaluation in preset.solver.evaluations}
    blocks = {window.stop - window.start for window in _windows(preset, block=1)}
    return sorted(product(branches, blocks), key=lambda sizes: sizes[::-1])


def vocoder_sizes(preset: SpeechPreset, block: int) -> list[int]:
    """Frames of the vocoder's regular calls, shortest first: what its stream asks for when it
    is pushed the windows of a preset."""
    graph = Recorder()
    stream = VocoderStream(Bindings(graph), preset.context)
    for window in _windows(preset, block):
        new, ahead = np.zeros((1, window.end - window.begin), np.float32), None
        if preset.guess:
            ahead = np.zeros((1, window.stop - window.end), np.float32)
        stream.push(new, ahead)
    return sorted(set(graph.frames))


def _windows(preset: SpeechPreset, block: int) -> Iterator[Window]:
    """Until the scheme repeats, and the context that it leaves behind does too."""
    scheme = preset.windows
    begin, settled = 0, scheme.past + preset.context + 1
    for number in range(len(scheme.chunks) + settled):
        window = scheme.window(number, begin, 1 << 60, block, last=False)
        assert window is not None
        yield window
        begin = window.end
