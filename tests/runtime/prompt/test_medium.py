"""What the encoders read is encoded once, and equal fingerprints mean equal rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Cancelled
from omnijet.runtime.media.cut_frames import CutFrames
from omnijet.runtime.media.image import frame_patches
from omnijet.runtime.prompt.medium import Content, EncoderInput, picture_input

GOLDEN = Path(__file__).parents[2] / "golden" / "preprocessor_config.json"
PREPROCESSING = Preprocessing.from_preprocessor_config(json.loads(GOLDEN.read_text()))


def sound(marks: list[int]) -> EncoderInput:
    """A sound of blocks of two tokens and four frames."""
    frames = 4 * len(marks)
    mel = np.arange(frames, dtype=np.float32)[None]
    return EncoderInput(mel, None, frames, 2, np.repeat(marks, 2).astype(np.int64))


def test_only_missing_blocks_are_encoded() -> None:
    """A block between two that changed is not encoded again."""
    calls: list[tuple[int, int]] = []

    def encode(content: Content, begin: int, end: int) -> Array:
        assert isinstance(content, np.ndarray)
        calls.append((begin, end))
        return np.repeat(content[0, 4 * begin : 4 * end : 4], 2)[:, None]

    earlier, later = sound([-1, -2, -3]), sound([-7, -2, -8, -9])
    earlier.rows(0, 6, encode)
    assert calls == [(0, 3)] and earlier.content is None
    later.adopt(earlier)
    rows = later.rows(0, 8, encode)
    assert calls == [(0, 3), (0, 1), (2, 4)] and later.content is None
    assert rows[:, 0].tolist() == [0, 0, 4, 4, 8, 8, 12, 12]
    assert later.rows(3, 5, encode)[:, 0].tolist() == [4, 8] and len(calls) == 3


def test_another_thread_may_encode_it_meanwhile() -> None:
    """Forks share media: one lets go of the content while the other encodes it."""
    shared = sound([-1, -2, -3])
    shared.encoded[1] = np.zeros((2, 1), np.float32)

    def encode(content: Content, begin: int, end: int) -> Array:
        return np.zeros((2 * (end - begin), 1), np.float32)

    def slow(content: Content, begin: int, end: int) -> Array:
        shared.rows(0, 6, encode)
        assert shared.content is None
        return encode(content, begin, end)

    assert shared.rows(0, 6, slow).shape == (6, 1)


def test_pictures_of_another_shape_differ() -> None:
    """White pixels are equal; their rows are not, because the encoder knows where each is."""
    wide, tall = (
        picture_input(np.full((1, *size, 3), 255, np.uint8), PREPROCESSING)
        for size in ((28, 112), (112, 28))
    )
    assert wide.fingerprints.size == tall.fingerprints.size == 4
    assert not set(wide.fingerprints.tolist()) & set(tall.fingerprints.tolist())


@pytest.mark.parametrize("count", [1, 4, 5])
def test_frames_are_cut_step_by_step(count: int) -> None:
    """Steps are those of all patches at once; an odd last frame fills the last step."""
    shown = np.random.default_rng(count).integers(0, 256, (count, 56, 84, 3), np.uint8)
    content = picture_input(shown, PREPROCESSING).content
    assert isinstance(content, CutFrames)
    whole, grid = frame_patches(shown, PREPROCESSING)
    steps = list(content.steps())
    assert grid == content.grid and len(steps) == grid[0]
    np.testing.assert_array_equal(np.concatenate(steps), whole)
    np.testing.assert_array_equal(content.patches(), whole)
    assert content.nbytes == shown.nbytes <= whole.nbytes // 4


def test_cutting_stops_before_any_frame() -> None:
    """What reading a picture or clip left to be done can be cancelled, too."""
    content = picture_input(np.zeros((3, 56, 56, 3), np.uint8), PREPROCESSING).content
    assert isinstance(content, CutFrames)
    for frame in range(3):
        allowed = iter(range(frame))

        def check(allowed: Iterator[int] = allowed) -> None:
            if next(allowed, None) is None:
                raise Cancelled

        with pytest.raises(Cancelled):
            list(content.steps(check))
        assert next(allowed, None) is None
