"""Speech as PCM and WAV."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from omnijet.runtime.media.wav import pcm16, write_wav


@pytest.mark.parametrize("samples", [0, 1, 4801])
def test_round_trip(tmp_path: Path, samples: int) -> None:
    wave = np.linspace(-1, 1, samples, dtype=np.float32)
    path = tmp_path / "a.wav"
    write_wav(path, wave, 24_000)
    read, rate = soundfile.read(path, dtype="float32")
    assert rate == 24_000 and soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_allclose(read, wave, atol=1 / 32000)
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


def test_pcm_is_what_libsndfile_writes_of_floats() -> None:
    wave = (1.2 * np.random.default_rng(0).uniform(-1, 1, 100_000)).astype(np.float32)
    written = io.BytesIO()
    soundfile.write(written, wave, 24_000, format="WAV", subtype="PCM_16")
    written.seek(0)
    read, _ = soundfile.read(written, dtype="int16")
    np.testing.assert_array_equal(np.frombuffer(pcm16(wave), "<i2"), read)
