"""Speech in the formats that clients ask for, read again by the decoders of the media room."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.media.sound_bytes import SOUND_FORMATS, SoundFormat, sound_bytes
from omnijet.runtime.media.wav import pcm16

RATE = 24_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize("form", ["wav", "flac", "pcm16"])
def test_formats_without_loss_hold_the_samples_of_pcm(form: SoundFormat) -> None:
    made = sound_bytes(TONE, RATE, form)
    if form != "pcm16":
        samples, rate = soundfile.read(io.BytesIO(made), dtype="int16")
        assert rate == RATE
        made = samples.astype("<i2").tobytes()
    assert made == pcm16(TONE)


@pytest.mark.parametrize("form", ["mp3", "opus"])
def test_formats_with_loss_sound_alike(form: SoundFormat) -> None:
    made = sound_bytes(TONE, RATE, form)
    assert len(made) < TONE.nbytes / 8
    heard = load_audio(made, RATE)
    assert abs(len(heard) - len(TONE)) < 0.1 * RATE
    spectrum = np.abs(np.fft.rfft(heard[RATE // 2 : RATE // 2 + RATE]))
    assert int(spectrum.argmax()) == 440
    assert abs(np.abs(heard[RATE // 2 : RATE]).max() - 0.5) < 0.05


@pytest.mark.parametrize("form", list(SOUND_FORMATS))
def test_no_sound_is_no_fault(form: SoundFormat) -> None:
    made = sound_bytes(np.empty(0, np.float32), RATE, form)
    assert (len(made) == 0) == (form in ("pcm16", "mp3", "flac"))


def test_a_minute_of_opus_is_written_whole() -> None:
    made = sound_bytes(np.tile(TONE, 30), RATE, "opus")
    assert abs(len(load_audio(made, RATE)) - 30 * len(TONE)) < 0.1 * RATE
