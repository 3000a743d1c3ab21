"""Sounds and clips are measured, and pictures looked at, before anything is decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.length import (
    require_short_clip,
    require_short_sound,
    require_small_picture,
)
from omnijet.runtime.media.pcm import RawFormat

MEDIA = Path(__file__).parent.parent.parent / "media"
CLIP = (MEDIA / "clip.mp4").read_bytes()
PICTURE = (MEDIA / "drawing.png").read_bytes()


def refused(call: Callable[[], None]) -> str:
    with pytest.raises(OmnijetError) as found:
        call()
    return str(found.value)


def sound(seconds: float, form: str, subtype: str | None = None) -> bytes:
    made = io.BytesIO()
    rate = 48_000 if subtype == "OPUS" else 16_000
    soundfile.write(made, np.zeros(int(seconds * rate), np.int16), rate, subtype, format=form)
    return made.getvalue()


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("WAV", None), ("FLAC", None), ("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"),
     ("AIFF", None), ("CAF", None)],
)  # fmt: skip
def test_a_sound_is_measured(form: str, subtype: str | None) -> None:
    content = sound(2, form, subtype)
    require_short_sound(content, 2.2)
    assert "too long" in refused(lambda: require_short_sound(content, 1.8))


def test_the_sound_of_a_container_is_measured_by_its_packets() -> None:
    require_short_sound(CLIP, 60)
    told = refused(lambda: require_short_sound(CLIP, 0.5))
    assert "the sound is too long" in told and "at most 0.5 s" in told


def test_a_wav_of_a_recorder_that_could_not_go_back_is_measured_by_its_bytes() -> None:
    content = bytearray(sound(2, "WAV"))
    content[4:8] = content[40:44] = b"\x00\x00\x00\x00"
    assert "too long" in refused(lambda: require_short_sound(bytes(content), 1.8))
    huge = bytearray(sound(2, "WAV"))
    huge[40:44] = b"\xff\xff\xff\x7f"  # announces a day
    require_short_sound(bytes(huge), 2.2)


def test_raw_samples_are_measured() -> None:
    raw = RawFormat.parse("s16le:24000:1")
    require_short_sound(b"\x00\x00" * 24_000, 1, raw)
    assert "too long" in refused(lambda: require_short_sound(b"\x00\x00" * 24_001, 1, raw))
    assert "whole number of samples" in refused(lambda: require_short_sound(b"\x00", 1, raw))
    stereo = RawFormat.parse("f32le:100:2")
    require_short_sound(b"\x00" * 800, 1, stereo)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x00" * 1000, b"%PDF-1.4", PICTURE])
def test_what_is_no_medium_is_told(content: bytes) -> None:
    assert "cannot be read" in refused(lambda: require_short_sound(content, 10))
    if content != PICTURE:
        assert "cannot be read" in refused(lambda: require_short_clip(content, 10, 10**7))
        assert "cannot be read" in refused(lambda: require_small_picture(content, 10**7))


def test_clips_are_measured_in_time_and_size() -> None:
    require_short_clip(CLIP, 60, 10**7)
    assert "the clip is too long" in refused(lambda: require_short_clip(CLIP, 0.5, 10**7))
    assert "too large" in refused(lambda: require_short_clip(CLIP, 60, 100))
    assert "too large" in refused(lambda: require_short_clip(PICTURE, 60, 100))


def test_pictures_are_measured() -> None:
    require_small_picture(PICTURE, 10**7)
    assert "pixels" in refused(lambda: require_small_picture(PICTURE, 100))
