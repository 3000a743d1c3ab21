"""How long the source of a part is kept, and how often it is read."""

from __future__ import annotations

import base64
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.bundle.dims import AudioEncoderDims
from omnijet.runtime.cancel import Cancelled
from omnijet.runtime.media.pcm import RawFormat
from omnijet.runtime.prompt.medium import Medium
from omnijet.runtime.prompt.messages import Audio, Image, Video
from omnijet.runtime.prompt.preprocess import medium_of
from tests.runtime.media.test_audio import MEDIA, PREPROCESSING, WILD

DIMS = AudioEncoderDims(
    n_mels=128, hidden=8, layers=1, heads=2, ffn=16, n_window=100, max_positions=1500, out=6
)


def made(part: Image | Audio | Video, hear: bool = False) -> Medium:
    return medium_of(part, PREPROCESSING, DIMS, hear, "message 1, part 1")


def heard(medium: Medium) -> np.ndarray[Any, Any]:
    assert medium.heard is not None and medium.heard.content is not None
    return medium.heard.content


def data_url(path: Path) -> str:
    return "data:;base64," + base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize("kind", [Path.read_bytes, data_url, lambda path: open(path, "rb")])  # noqa: SIM115
def test_what_is_held_in_memory_is_let_go_of(kind: Any) -> None:
    path = MEDIA / "clip.mp4"
    source = kind(path)
    try:
        part = Video(source)
        assert made(part).heard is None and part.source is None
        # its sound was read as well, because it may be wanted in a later turn
        want = made(Video(path), hear=True)
        np.testing.assert_array_equal(heard(made(part, hear=True)), heard(want))
        assert made(part).heard is None
        picture = Image(kind(MEDIA / "drawing.png"))
        made(picture)
        assert picture.source is None
    finally:
        if isinstance(source, io.IOBase):
            source.close()


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=((MEDIA / "clip.mp4").read_bytes(),))
    writer.start()
    part = Video(str(pipe))
    assert made(part).heard is None and part.source is None
    writer.join(10)
    assert made(part, hear=True).heard is not None


def test_the_wait_for_a_pipe_can_be_cancelled(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for part in (Image(pipe), Audio(pipe), Video(pipe)):
        checks: list[None] = []

        def check(checks: list[None] = checks) -> None:
            checks.append(None)
            if len(checks) == 3:
                raise Cancelled

        with pytest.raises(Cancelled):
            medium_of(part, PREPROCESSING, DIMS, False, "message 1, part 1", check)


@pytest.mark.parametrize("url", [False, True])
def test_a_file_is_opened_again_for_its_sound(url: bool) -> None:
    path = MEDIA / "clip.mp4"
    part = Video(path.as_uri() if url else path)
    first = made(part)
    assert first.heard is None and not first.sound_was_read and part.source is not None
    assert made(part, hear=True).heard is not None


def test_raw_samples_are_read_by_their_format() -> None:
    part = Audio(WILD / "mic.raw", raw=RawFormat("s16le", 16_000, 1))
    want = made(Audio(WILD / "size_zero.wav"))
    np.testing.assert_array_equal(heard(made(part)), heard(want))
