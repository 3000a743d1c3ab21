from __future__ import annotations

import io
import json
import logging
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
import torch
from transformers import WhisperFeatureExtractor

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.media.log_mel import log_mel
from omnijet.runtime.media.mono import MonoSound
from omnijet.runtime.media.pcm import ENCODINGS, RawFormat

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


# -- sounds from the wild -----------------------------------------------------------------

MEDIA = Path(__file__).parents[2] / "media"
WILD = MEDIA / "wild"
PCM = (8000 * np.sin(0.1 * np.arange(16_000))).astype("<i2")


def wav(
    data_size: int,
    body: bytes = PCM.tobytes(),
    *,
    riff_size: int = 0,
    rate: int = 16_000,
    channels: int = 1,
    before: bytes = b"",
    magic: bytes = b"RIFF",
) -> bytes:
    """Returns a 16-bit WAV file whose header says what it is told."""
    facts = struct.pack("<HHIIHH", 1, channels, rate, 32_000, 2 * channels & 0xFFFF, 16)
    head = magic + struct.pack("<I", riff_size) + b"WAVE" + before
    return head + b"fmt \x10\0\0\0" + facts + b"data" + struct.pack("<I", data_size) + body


def ds64(riff_size: int, data_size: int) -> bytes:
    return b"ds64" + struct.pack("<IQQQI", 28, riff_size, data_size, 0, 0)


UNKNOWN, ENDLESS = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
STREAMED = {
    "nothing known": wav(0),
    "riff size alone": wav(0, riff_size=36),
    "as ffmpeg": wav(UNKNOWN, riff_size=UNKNOWN),
    "as sox": wav(0x7FFFFFFF - 36, riff_size=0x7FFFFFFF),
    "a chunk before": wav(0, before=b"LIST\x04\0\0\0INFO"),
    "RF64": wav(UNKNOWN, riff_size=UNKNOWN, before=ds64(0, 0), magic=b"RF64"),
    "RF64 endless": wav(UNKNOWN, riff_size=UNKNOWN, before=ds64(ENDLESS, ENDLESS), magic=b"RF64"),
    "RF64 too long": wav(UNKNOWN, riff_size=UNKNOWN, before=ds64(0, 10**9), magic=b"RF64"),
    "RF64 right": wav(UNKNOWN, riff_size=UNKNOWN, before=ds64(32_072, 32_000), magic=b"RF64"),
}


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("stored", [False, True])
def test_a_recording_of_unknown_length_is_read_to_its_end(
    tmp_path: Path, name: str, stored: bool
) -> None:
    path = tmp_path / "streamed.wav"
    path.write_bytes(STREAMED[name])
    wave = load_audio(path if stored else STREAMED[name])
    np.testing.assert_array_equal(wave, (PCM / 32768).astype(np.float32))


def test_a_streamed_wav_loses_only_what_is_cut_off() -> None:
    want = (PCM / 32768).astype(np.float32)
    np.testing.assert_array_equal(load_audio(wav(0, PCM.tobytes()[:-1])), want[:-1])
    np.testing.assert_array_equal(load_audio(wav(32_000, PCM.tobytes()[:20_001])), want[:10_000])
    assert load_audio(WILD / "size_zero.wav").shape == (23_120,)
    for hollow in (b"", b"LIST\x04\0\0\0INFO"):  # it has no samples indeed
        with pytest.raises(OmnijetError, match="empty"):
            load_audio(wav(0, hollow))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_raw_samples(encoding: str) -> None:
    subtype, endian = ENCODINGS[encoding]
    stereo = np.stack([PCM, PCM[::-1]], axis=1) / 32768
    content = io.BytesIO()
    soundfile.write(content, stereo, 8000, format="RAW", subtype=subtype, endian=endian)
    wave = load_audio(content, 8000, raw=RawFormat.parse(f"{encoding}:8000:2"))
    np.testing.assert_allclose(wave, stereo.mean(axis=1), atol=0.02)


def test_raw_samples_need_their_format(tmp_path: Path) -> None:
    path = WILD / "mic.raw"
    wave = load_audio(path, raw=RawFormat.parse("s16le:16000:1"))
    np.testing.assert_array_equal(wave, load_audio(WILD / "size_zero.wav"))
    for source in (path, path.read_bytes()):
        with pytest.raises(OmnijetError, match="--audio-format s16le:16000:1"):
            load_audio(source)
    named_raw = tmp_path / "a.raw"  # a name says nothing against a header
    named_raw.write_bytes(wav(32_000))
    assert load_audio(named_raw).shape == (16_000,)
    with pytest.raises(OmnijetError, match="header of its own"):
        load_audio(named_raw, raw=RawFormat.parse("s16le:16000:1"))


def test_unusable_raw_formats() -> None:
    for text, words in [
        ("s16le", "ENCODING:RATE:CHANNELS"),
        ("s16:16000:1", "did you mean s16"),
        ("mp3:16000:1", "one of"),
        ("s16le:16k:1", "sample rate"),
        ("s16le:0:1", "sample rate"),
        ("s16le:\u00b2\u00b2\u00b2:1", "sample rate"),
        ("s16le:16000:0", "channels"),
        ("s16le:16000:-1", "channels"),
        ("s16le:16000:65", "channels"),
    ]:
        with pytest.raises(ValueError, match=words):
            RawFormat.parse(text)
    assert RawFormat.parse(" F32BE:48000:2 ") == RawFormat("f32be", 48_000, 2)


@pytest.mark.parametrize("rate", [0, 1, 99, 10_000_001, 4_000_000_000])
def test_rates_that_no_recording_has(rate: int) -> None:
    for source in (wav(32_000, rate=rate), (PCM, rate), (PCM, float(rate)), (PCM, np.int64(rate))):
        with pytest.raises(OmnijetError, match="sample rate is unusable"):
            load_audio(source)  # type: ignore[arg-type]


def test_rates_are_numbers_of_any_kind() -> None:
    want = load_audio((PCM, 8000))
    for rate in (8000.0, np.int64(8000), np.uint16(8000), np.float32(8000)):
        np.testing.assert_array_equal(load_audio((PCM, rate)), want)  # type: ignore[arg-type]
    for unusable in (True, "8000", None, float("nan"), float("inf"), 8000j):
        with pytest.raises(OmnijetError, match="sample rate"):
            load_audio((PCM, unusable))  # type: ignore[arg-type]


def test_integers_and_shapes_of_arrays() -> None:
    want = (PCM / 32768).astype(np.float32)
    for array in (PCM, PCM.astype(">i2"), PCM.astype(np.int32) << 16, want.astype(np.float64)):
        np.testing.assert_array_equal(load_audio(array), want)
    bytes_of = (PCM >> 8).astype(np.int8)
    np.testing.assert_array_equal(load_audio(bytes_of), (bytes_of / 128).astype(np.float32))
    unsigned = (bytes_of.astype(np.int16) + 128).astype(np.uint8)  # as 8-bit WAV files have it
    np.testing.assert_array_equal(load_audio(unsigned), load_audio(bytes_of))
    both = np.stack([PCM, PCM])
    np.testing.assert_array_equal(load_audio(both), want)
    np.testing.assert_array_equal(load_audio(both.T), want)
    np.testing.assert_array_equal(load_audio(PCM[None]), want)
    for array in (PCM.astype(np.int64), PCM.astype(np.uint16), PCM > 0, PCM + 1j):
        with pytest.raises(OmnijetError, match="unusable dtype"):
            load_audio(array)
    for array in (PCM[None, None], PCM.reshape(20, 800), np.float32(1)):
        with pytest.raises(OmnijetError, match="unusable shape"):
            load_audio(array)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "name"), [(2.0**15, "int16"), (2.0**31, "int32")])
@pytest.mark.parametrize("rate", [16_000, 8000])
def test_floats_in_the_range_of_integers_are_scaled(
    scale: float, name: str, rate: int, caplog: pytest.LogCaptureFixture
) -> None:
    wave = speech_like(16_000)
    want = load_audio((wave, rate))
    assert not caplog.records
    file = io.BytesIO()
    soundfile.write(file, wave * scale, rate, format="WAV", subtype="FLOAT")
    for source in ((wave * scale, rate), file):
        caplog.clear()
        np.testing.assert_array_equal(load_audio(source), want)  # type: ignore[arg-type]
        (record,) = caplog.records
        assert f"range of {name}" in record.getMessage()


@pytest.mark.parametrize("peak", [1.0, 1.5, 2.0, 8.0, 60.0])
def test_loud_floats_are_left_alone(peak: float, caplog: pytest.LogCaptureFixture) -> None:
    wave = speech_like(16_000)
    wave *= peak / np.abs(wave).max()
    np.testing.assert_array_equal(load_audio(wave), wave)
    assert not caplog.records


@pytest.mark.parametrize("peak", [2.0**20, 2.0**40])
def test_floats_of_no_known_scale_are_refused(peak: float) -> None:
    wave = speech_like(16_000)
    with pytest.raises(OmnijetError, match="far outside"):
        load_audio(wave * np.float32(peak))
    click = wave.copy()
    click[100] = 20_000.0  # scaled by it, the sound would be silence
    with pytest.raises(OmnijetError, match="1 of 16000 samples"):
        load_audio(click)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_counted_in_files_too(value: float) -> None:
    wave = speech_like(600_000)
    wave[[300_000, 480_000]] = value
    file = io.BytesIO()
    soundfile.write(file, wave, 16_000, format="WAV", subtype="FLOAT")
    for source in (wave, file):
        with pytest.raises(OmnijetError, match=r"2 NaN .* of 600000, the first after 18.750 s"):
            load_audio(source)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 16_000, 12_345])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_block_by_block_equals_the_whole_bit_for_bit(rate: int, channels: int) -> None:
    """What `librosa.load` computes: the mean of the channels, then soxr HQ."""
    noise = np.random.default_rng(rate).standard_normal((rate * 7 + 3, channels)) * 0.1
    wave = noise.astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="WAV", subtype="FLOAT")
    mono = np.mean(wave.T, axis=0) if channels > 1 else wave[:, 0]
    want = mono if rate == 16_000 else soxr.resample(mono, rate, 16_000, quality="HQ")
    length = -(-len(wave) * 16_000 // rate)
    want = np.pad(want, (0, max(0, length - len(want))))[:length]
    for source in (file, (wave, rate)):
        np.testing.assert_array_equal(load_audio(source), want)


def test_claims_of_a_header_allocate_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    read = soundfile.SoundFile.read

    def watched(self: soundfile.SoundFile, frames: int, *rest: object, **named: object) -> Array:
        nonlocal largest
        largest = max(largest, frames * self.channels)
        made: Array = read(self, frames, *rest, **named)
        return made

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    assert load_audio(wav(UNKNOWN, rate=10_000_000)).size == 26
    load_audio(wav(UNKNOWN, channels=1024))
    assert 0 < largest <= 1 << 20
    with pytest.raises(OmnijetError, match="cannot be read"):
        load_audio(wav(UNKNOWN, channels=65_535))


def test_reading_ends_at_the_limit() -> None:
    def blocks() -> Iterator[Array]:
        for _ in range(3):
            yield np.zeros((1000, 1), np.float32)
        raise AssertionError("read beyond the limit")

    sound = MonoSound(1000.0, 16_000, 3.0)
    sound.fill(blocks())
    assert sound.samples("here").size == 48_000
