"""The encoders over real graphs: memory and batching."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.protocol import Graph
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model import encoders
from omnijet.runtime.model.encoders import VisionEncoder
from omnijet.runtime.model.vision_plan import plan
from omnijet.runtime.omni import Omni
from tests.older import with_single_pictures

ROOT = Path(__file__).parents[3]
LARGE = """
import json, resource, sys
import numpy as np
from omnijet.runtime.omni import Omni

omni = Omni.open(sys.argv[1])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
rng = np.random.default_rng(0)
side = 128
patches = rng.standard_normal((side * side, omni.model.dims.vision.patch_width), dtype=np.float32)
omni.model.eyes.encode([patches[:64]], (1, 8, 8))
before = peak()
features = omni.model.eyes.encode([patches], (1, side, side))
print(json.dumps([peak() - before, bool(np.isfinite(features).all()), list(features.shape)]))
"""


def test_a_large_picture_needs_no_quadratic_memory(nano: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE, nano[1]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    grown, finite, shape = json.loads(done.stdout)
    patches = 128 * 128
    assert finite and shape[0] == patches // 4
    one_head_of_scores = 4 * patches**2  # 1.07 GB
    assert grown < 0.5 * one_head_of_scores


def test_a_long_sound_goes_in_batches(omni: Omni, monkeypatch) -> None:
    """Chunks of two seconds are independent, so the number per call changes nothing."""
    rng = np.random.default_rng(0)
    bands = omni.model.dims.audio.n_mels
    sounds = [rng.standard_normal((bands, frames), dtype=np.float32) for frames in (730, 31, 2000)]
    whole = omni.model.ears.encode(sounds)
    monkeypatch.setattr(encoders, "MAX_CHUNKS", 3)
    pieces = omni.model.ears.encode(sounds)
    assert np.abs(pieces - whole).max() <= 1e-5 * np.abs(whole).max()


class Counted:
    """A graph that says how many pictures each of its calls had, and has limits of its own."""

    def __init__(self, graph: Graph, limits: Mapping[str, int]) -> None:
        self.contract, self.calls, self.joins = graph.contract, list[int](), True
        self._graph, self._limits = graph, limits

    def bind(self, sizes: Mapping[str, int]) -> Any:
        bound = self._graph.bind(sizes)
        return SimpleNamespace(
            inputs=bound.inputs,
            outputs=bound.outputs,
            run=lambda: (self.calls.append(sizes.get("pictures", 1)), bound.run()),
        )

    def limit(self, symbol: str) -> int | None:
        return self._limits.get(symbol)


def clip(omni: Omni, frames: int, patches: int) -> list[Array]:
    width = omni.model.dims.vision.patch_width
    rng = np.random.default_rng(1)
    return [rng.standard_normal((patches, width), np.float32) for _ in range(frames)]


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        ({}, [7]),
        ({"pictures": 4}, [4, 3]),
        ({"pictures": 3}, [3, 3, 1]),
        ({"cells": 35 * 6}, [4, 3]),  # as many as fit, and calls of nearly one size
        ({"windows": 4 * 2}, [2, 2, 2, 1]),
        ({"cells": 35}, [1] * 7),
    ],
    ids=str,
)
def test_frames_of_a_clip_go_together(omni: Omni, limits: dict[str, int], calls: list[int]) -> None:
    """How many frames a call has changes nothing that they become."""
    frames = clip(omni, 7, 140)
    taken: list[int] = []
    eyes = omni.model.eyes
    counted = Counted(eyes.graph, limits)

    def coming() -> Iterator[Array]:
        for number, frame in enumerate(frames):
            taken.append(number - sum(counted.calls))
            yield frame

    together = replace(eyes, graph=cast(Graph, counted)).encode(coming(), (7, 10, 14))
    assert counted.calls == calls
    assert max(taken) < max(calls), "no frame is taken before its call"
    alone = [eyes.encode([frame], (1, 10, 14)) for frame in frames]
    assert np.abs(together - np.concatenate(alone)).max() <= 1e-5 * np.abs(together).max()
    assert np.abs(alone[0] - alone[1]).max() > 1e-2 * np.abs(together).max()


def test_frames_together_are_no_larger_than_a_picture(omni: Omni) -> None:
    eyes = omni.model.eyes
    counted = Counted(eyes.graph, {})
    side = 32  # 256 cells
    frames = clip(omni, 5, side * side)
    replace(eyes, graph=cast(Graph, counted)).encode(frames, (5, side, side))
    assert counted.calls and max(counted.calls) * 256 <= encoders.JOINED_CELLS


def test_an_older_bundle_sees_one_frame_at_a_time(
    nano: tuple[Path, Path], omni: Omni, tmp_path: Path
) -> None:
    folder = with_single_pictures(nano[1], tmp_path / "older")
    frames = clip(omni, 3, 140)
    wanted = omni.model.eyes.encode(frames, (3, 10, 14))
    with Omni.open(folder, backend=OrtBackend(threads=1)) as older:
        counted = Counted(older.model.eyes.graph, {})
        eyes = VisionEncoder(cast(Graph, counted), older.model.dims.vision)
        found = eyes.encode(frames, (3, 10, 14))
    assert counted.calls == [1, 1, 1]
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_on_a_processor_frames_go_one_by_one(omni: Omni) -> None:
    eyes = omni.model.eyes
    assert eyes.pictures(7, plan(eyes.dims, 10, 14)) == 1
    counted = Counted(eyes.graph, {})
    together = replace(eyes, graph=cast(Graph, counted))
    assert together.pictures(7, plan(eyes.dims, 10, 14)) == 7


@pytest.mark.parametrize("frames", [0, 2, 4])
def test_another_number_of_frames_than_said(omni: Omni, frames: int) -> None:
    with pytest.raises(AssertionError):
        omni.model.eyes.encode(clip(omni, frames, 140), (3, 10, 14))
    assert omni.model.eyes.encode([], (0, 10, 14)).shape == (0, omni.model.dims.vision.out)
