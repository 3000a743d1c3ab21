from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperFeatureExtractor

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.media.log_mel import log_mel

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)


def speech_like(samples: int, rate: int = 16_000) -> Array:
    """Returns harmonics with a slow envelope and noise."""
    rng = np.random.default_rng(samples)
    seconds = np.arange(samples) / rate
    tones = sum(np.sin(2 * np.pi * 140 * k * seconds + k) / k for k in range(1, 20))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * seconds)
    wave = 0.2 * envelope * tones + 0.02 * rng.standard_normal(samples)
    return np.asarray(wave, np.float32)


def reference(samples: Array, seconds: int) -> Array:
    """Returns the frames that the reference keeps of a sound padded to `seconds`."""
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=seconds)
    made = extractor(samples, sampling_rate=16_000, return_attention_mask=True, return_tensors="np")
    kept: Array = made["input_features"][0][:, made["attention_mask"][0] == 1]
    return kept


# at 30 s less 10 samples the last frame sees the end mirrored; beyond 30 s the sound is cut
@pytest.mark.parametrize(
    ("samples", "seconds"),
    [
        *((samples, 30) for samples in (1, 159, 160, 161, 4800, 32000, 479_990, 480_200)),
        *((samples, 300) for samples in (116_800, 480_001)),
    ],
)
def test_log_mel_equals_reference(samples: int, seconds: int) -> None:
    wave = speech_like(samples)
    mel, want = (
        log_mel(wave, replace(PREPROCESSING, max_audio_seconds=seconds)),
        reference(wave, seconds),
    )
    assert mel.dtype == np.float32 and mel.shape == want.shape
    # the reference's STFT is in single precision: where a quiet band cancels out, in a few
    # values of a million, its rounding shows; the exact comparison is the next test
    error = np.abs(mel - want)
    assert error.max() < 1e-4
    assert (error > 1e-5).mean() < 3e-5


def test_log_mel_equals_the_reference_done_in_double() -> None:
    wave = speech_like(50_001)
    padded = torch.zeros(480_000, dtype=torch.float64)
    padded[: len(wave)] = torch.from_numpy(wave)
    window = torch.hann_window(400, dtype=torch.float64)
    stft = torch.stft(padded, 400, 160, window=window, return_complex=True)[:, :-1]
    filters = torch.from_numpy(WhisperFeatureExtractor(feature_size=128).mel_filters)
    logs = (filters.T @ stft.abs() ** 2).clamp(min=1e-10).log10()
    want = (torch.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0
    mel = log_mel(wave, PREPROCESSING)
    np.testing.assert_allclose(mel, want[:, : mel.shape[1]], atol=1e-6, rtol=0)


def test_the_loudest_band_may_lie_in_a_dropped_frame() -> None:
    wave = 1e-4 * speech_like(1600)
    wave[1598:] += 1.0  # a click that the first frame of the padding hears best
    mel = log_mel(wave, PREPROCESSING)
    np.testing.assert_allclose(mel, reference(wave, 30), atol=1e-5, rtol=0)
    assert np.ptp(mel) < 2  # in the frames kept, the floor is nearer than 8 decades


def test_silence() -> None:
    wave = np.zeros(5000, np.float32)
    np.testing.assert_array_equal(log_mel(wave, PREPROCESSING), reference(wave, 300))


def tone(rate: int, seconds: float, hertz: float = 440.0) -> Array:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def loudest_hertz(wave: Array) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(wave))) * 16_000 / len(wave))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_stereo_file_becomes_mono_at_16_khz(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone.{suffix}"
    stereo = np.stack([0.6 * tone(44_100, 1.0), np.zeros(44_100)], axis=1)
    soundfile.write(path, stereo, 44_100)
    wave = load_audio(path)
    assert wave.dtype == np.float32 and wave.shape == (16_000,)
    assert abs(loudest_hertz(wave) - 440) < 1.5
    assert np.abs(wave[1000:-1000]).max() == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize(("rate", "length"), [(44_100, 44_101), (8_000, 8_001), (48_000, 47_999)])
def test_length_is_rounded_up(rate: int, length: int) -> None:
    wave = load_audio((np.zeros(length, np.float32), rate))
    assert len(wave) == -(-length * 16_000 // rate)


def test_compressed_container(tmp_path: Path) -> None:
    path = tmp_path / "tone.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=24_000)
        stream.layout = "stereo"
        for start in range(0, 24_000, 1024):
            block = np.tile(0.5 * tone(24_000, 1.1)[start : start + 1024], (2, 1))
            frame = av.AudioFrame.from_ndarray(block.astype(np.float32), "fltp", "stereo")
            frame.sample_rate, frame.pts = 24_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    wave = load_audio(str(path))
    assert abs(len(wave) - 16_000) < 1200
    assert abs(loudest_hertz(wave) - 440) < 2
    assert np.abs(wave[2000:-2000]).max() == pytest.approx(0.5, rel=0.05)


def test_pcm_arrays() -> None:
    exact = np.array([-1.0, 0.0, 0.5], np.float32)
    np.testing.assert_array_equal(load_audio(np.array([-32768, 0, 16384], np.int16)), exact)
    np.testing.assert_array_equal(load_audio(np.array([-(2**31), 0, 2**30], np.int32)), exact)
    np.testing.assert_array_equal(load_audio(np.stack([exact, -exact], axis=1)), np.zeros(3))


def test_a_long_sound_is_cut_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, 0.1 * tone(8_000, 4.0), 8_000)
    whole = load_audio(path)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        cut = load_audio(path, max_seconds=2.0)
    np.testing.assert_allclose(cut, whole[:32_000], atol=1e-6)
    assert "long.wav" in caplog.text and "first 2 s" in caplog.text


def test_unusable_sounds(tmp_path: Path) -> None:
    text, empty, hollow = tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "c.wav"
    text.write_text("no sound at all")
    empty.touch()
    soundfile.write(hollow, np.zeros(0), 16_000)
    for source, words in [
        (text, "cannot be read"),
        (empty, "cannot be read"),
        (hollow, "empty"),
        (tmp_path, "cannot be opened"),
        (tmp_path / "gone.wav", "cannot be opened"),
        ("https://example.org/a.wav", "download it first"),
        (np.zeros(0, np.float32), "empty"),
        (np.array([0.0, np.nan]), "not finite"),
        (np.zeros((20, 500), np.float32), "shape"),
        (np.zeros(5, np.int64), "astype"),
        ((np.zeros(5, np.float32), 0), "sample rate"),
    ]:
        with pytest.raises(OmnijetError, match=words):
            load_audio(source)  # type: ignore[arg-type]
