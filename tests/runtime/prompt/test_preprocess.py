"""Tests that reading a medium can be cancelled between its pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.bundle.dims import AudioEncoderDims
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Cancelled
from omnijet.runtime.prompt.messages import Audio, Image, Video
from omnijet.runtime.prompt.preprocess import medium_of
from tests.clip import write_clip

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)
DIMS = AudioEncoderDims(
    n_mels=128, hidden=32, layers=1, heads=2, ffn=64, n_window=100, max_positions=1500, out=32
)


def picture(folder: Path) -> Image:
    return Image(np.zeros((56, 56, 3), np.uint8))


def sound(folder: Path) -> Audio:
    return Audio(np.zeros(16_000, np.float32))


def clip(folder: Path) -> Video:
    write_clip(folder / "clip.mp4", 12, 4, sound=1)
    return Video(folder / "clip.mp4")


@pytest.mark.parametrize(("make", "least"), [(picture, 2), (sound, 2), (clip, 15)])
def test_reading_stops_at_any_piece(
    tmp_path: Path, make: Callable[[Path], Image | Audio | Video], least: int
) -> None:
    checks: list[None] = []
    part = make(tmp_path)
    medium_of(part, PREPROCESSING, DIMS, True, "part 1", lambda: checks.append(None))
    assert len(checks) >= least
    for number in range(len(checks)):
        part = make(tmp_path)
        allowed = iter(checks[:number])

        def check(allowed: Iterator[None] = allowed) -> None:
            for _ in allowed:
                return
            raise Cancelled

        with pytest.raises(Cancelled):
            medium_of(part, PREPROCESSING, DIMS, True, "part 1", check)
        assert part.medium is None
    assert medium_of(part, PREPROCESSING, DIMS, True, "part 1").nbytes
