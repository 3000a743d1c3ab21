"""What the encoders read is encoded once, and equal fingerprints mean equal rows."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.prompt.medium import EncoderInput, picture_input


def sound(marks: list[int]) -> EncoderInput:
    """A sound of blocks of two tokens and four frames."""
    frames = 4 * len(marks)
    mel = np.arange(frames, dtype=np.float32)[None]
    return EncoderInput(mel, None, frames, 2, np.repeat(marks, 2).astype(np.int64))


def test_only_missing_blocks_are_encoded() -> None:
    """A block between two that changed is not encoded again."""
    calls: list[tuple[int, int]] = []

    def encode(content: Array, begin: int, end: int) -> Array:
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

    def encode(content: Array, begin: int, end: int) -> Array:
        return np.zeros((2 * (end - begin), 1), np.float32)

    def slow(content: Array, begin: int, end: int) -> Array:
        shared.rows(0, 6, encode)
        assert shared.content is None
        return encode(content, begin, end)

    assert shared.rows(0, 6, slow).shape == (6, 1)


def test_pictures_of_another_shape_differ() -> None:
    """White patches are equal; their rows are not, because the encoder knows where each is."""
    white = np.ones((16, 12), np.float32)
    wide, tall = picture_input(white, (1, 2, 8), 2), picture_input(white, (1, 8, 2), 2)
    assert wide.fingerprints.size == tall.fingerprints.size == 4
    assert not set(wide.fingerprints.tolist()) & set(tall.fingerprints.tolist())
