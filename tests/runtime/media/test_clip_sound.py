from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.media.clip_sound import JITTER_SECONDS, Layout
from omnijet.runtime.media.sizing import Sizing
from omnijet.runtime.media.video import load_clip_sound, load_video
from tests.clip import write_clip
from tests.timed_clip import write_timed_clip

MEDIA = Path(__file__).parents[2] / "media"
PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)
Samples = npt.NDArray[np.float32]


def tone(seconds: float, hertz: float = 440, rate: int = 16_000) -> Samples:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def heard(path: Path, sizing: Sizing = Sizing()) -> Samples:  # noqa: B008
    samples = load_clip_sound(path, PREPROCESSING, "clip", sizing)
    assert samples is not None
    return samples


def laid(pieces: list[tuple[float | None, int]], rate: int = 1000) -> list[float]:
    """Returns what is heard of pieces of so many samples: piece i has the value i + 1."""
    layout = Layout(rate)
    blocks = [
        block
        for number, (start, size) in enumerate(pieces, start=1)
        for block in layout.lay(start, np.full(size, number, np.float32))
    ]
    whole = np.concatenate(blocks)
    assert layout.place == len(whole) and layout.heard == np.count_nonzero(whole)
    return whole.tolist()


def runs(values: list[float]) -> Iterator[tuple[int, int]]:
    """Yields value and length of runs of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for begin, end in pairwise(edges):
        yield int(values[begin]), end - begin


def test_late_sound_comes_late() -> None:
    late = load_video(MEDIA / "wild" / "late_audio1s.mp4", PREPROCESSING, True)
    truth = load_video(MEDIA / "wild" / "truth_late1s.mp4", PREPROCESSING, True)
    np.testing.assert_array_equal(late.frames, truth.frames)
    assert late.audio is not None and truth.audio is not None
    size = min(len(late.audio), len(truth.audio))
    assert size > 79_000 and abs(len(late.audio) - len(truth.audio)) < 1024
    assert not np.abs(late.audio[:14_976]).any()
    # both were encoded, with one second of silence in one of them
    difference = late.audio[:size] - truth.audio[:size]
    assert np.sqrt(np.mean(difference**2)) < 0.05 * np.sqrt(np.mean(truth.audio**2))


@pytest.mark.parametrize("name", ["clip.mp4", "a.mp4", "a.mkv", "a.avi", "a.mov", "a.webm"])
def test_regular_tracks_are_heard_as_before(tmp_path: Path, name: str) -> None:
    path = MEDIA / name
    if name == "a.webm":
        path = MEDIA / "wild" / "webm_1000fps.webm"
    elif name.startswith("a."):
        path = tmp_path / name
        write_clip(path, 30, 10, sound=3.0)
    np.testing.assert_array_equal(heard(path), load_audio(path))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_gaps_are_silent_and_overlaps_are_heard_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    codec = "aac" if name == "a.mp4" else "pcm_s16le"
    sound = [(0.5, tone(1)), (2.5, tone(1, 880))]
    write_timed_clip(path, [100 * i for i in range(50)], sound=sound, sound_codec=codec)
    samples = heard(path)
    want = np.zeros(len(samples), np.float32)
    want[8_000:24_000], want[40_000:56_000] = tone(1), tone(1, 880)
    assert len(samples) == pytest.approx(56_000, abs=1024)
    quiet = [slice(0, 6_500), slice(26_000, 38_500)]
    assert all(np.abs(samples[part]).max() < 1e-3 for part in quiet)
    assert np.corrcoef(samples, want)[0, 1] > 0.98


def test_sound_from_before_the_picture_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_timed_clip(path, [1500 + 100 * i for i in range(20)], sound=[(0.0, tone(3))])
    samples = heard(path)
    assert len(samples) == pytest.approx(24_000, abs=640)
    assert np.corrcoef(samples, tone(3)[-len(samples) :])[0, 1] > 0.99


def test_a_stretch_is_heard_as_it_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_timed_clip(path, [100 * i for i in range(50)], sound=[(0.0, tone(5))])
    whole = heard(path)
    np.testing.assert_array_equal(
        heard(path, Sizing(video_start=1.5, video_end=3.25)), whole[24_000:52_000]
    )
    np.testing.assert_array_equal(heard(path, Sizing(video_start=4)), whole[64_000:])


def test_pieces_that_follow_each_other_are_not_touched() -> None:
    assert list(runs(laid([(0.0, 100), (0.1, 100), (0.2, 50)]))) == [(1, 100), (2, 100), (3, 50)]


@pytest.mark.parametrize("seed", range(30))
def test_jitter_is_not_heard(seed: int) -> None:
    """Timestamps in milliseconds, and a start that is off by less than a token."""
    rng = random.Random(seed)
    begin, size = rng.uniform(-0.03, 0.03), 21
    pieces = [(round(begin + size * i / 1000 + rng.uniform(-9e-3, 9e-3), 3), size)
              for i in range(40)]  # fmt: skip
    assert [length for _, length in runs(laid(pieces))] == [size] * 40


def test_late_pieces_wait_and_early_ones_are_cut() -> None:
    late = laid([(0.5, 100), (0.6, 100), (1.0, 100)])
    assert list(runs(late)) == [(0, 500), (1, 100), (2, 100), (0, 300), (3, 100)]
    early = laid([(-0.25, 100), (-0.15, 100), (-0.05, 100), (0.05, 100)])
    assert list(runs(early)) == [(3, 50), (4, 100)]
    overlap = laid([(0.0, 100), (0.05, 100), (0.15, 100)])
    assert list(runs(overlap)) == [(1, 100), (2, 50), (3, 100)]


def test_drift_is_made_good_before_it_is_noticed() -> None:
    """A sound clock that runs 1% slow beside the picture's."""
    values = laid([(0.101 * i, 100) for i in range(100)])
    assert len(values) == pytest.approx(10_100, abs=1000 * JITTER_SECONDS + 101)


def test_pieces_with_timestamps_of_their_own_follow_each_other() -> None:
    joined = laid([(5.0, 100), (5.1, 100), (0.0, 100), (0.1, 100), (9e9, 100), (None, 100)])
    assert list(runs(joined))[1:] == [(number, 100) for number in range(1, 7)]


def test_a_clip_is_never_refused_for_its_sound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = MEDIA / "wild" / "empty_audio.mkv"
    video = load_video(path, PREPROCESSING, True)
    assert video.audio is None and len(video.frames) == 8
    assert [record.message.count("only looked at") for record in caplog.records] == [1]


def test_sound_that_never_meets_the_picture_is_not_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mkv"
    write_timed_clip(path, [5000 + 100 * i for i in range(9)], sound=[(0.0, tone(1))])
    assert load_clip_sound(path, PREPROCESSING, "clip") is None
    write_timed_clip(path, [100 * i for i in range(9)], sound=[(400.0, tone(1))])
    assert load_clip_sound(path, PREPROCESSING, "clip") is None
    assert [record.message.count("only looked at") for record in caplog.records] == [1, 1]


def test_a_track_of_numbers_that_are_none_is_silent_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mkv"
    sound = [(0.0, tone(1))]
    write_timed_clip(path, [100 * i for i in range(20)], sound=sound, sound_codec="pcm_f32le")
    data = path.read_bytes()
    value = (np.int16(32767 * tone(1)[3009]) / np.float32(32768)).astype("<f4").tobytes()
    assert value in data
    path.write_bytes(data.replace(value, np.float32(np.nan).tobytes()))
    samples = heard(path)
    assert np.isfinite(samples).all() and np.abs(samples).max() > 0.4
    assert [record.message.count("sound is damaged") for record in caplog.records] == [1]


def test_damaged_packets_are_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.mp4"
    write_clip(path, 40, 10, sound=4.0)
    whole = heard(path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"moov") - 4000
    data[at : at + 900] = b"\xff" * 900
    path.write_bytes(data)
    samples = heard(path)
    assert len(samples) == pytest.approx(len(whole), abs=2048)
    np.testing.assert_allclose(samples[:20_000], whole[:20_000], atol=1e-4)


def test_sound_is_read_to_the_models_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mkv"
    write_timed_clip(path, [0, 1000], sound=[(0.0, tone(4))])
    short = Preprocessing.from_json({**PREPROCESSING.to_json(), "max_audio_seconds": 2})
    samples = load_clip_sound(path, short, "clip")
    assert samples is not None and len(samples) == 32_000
    assert "only the first 2 s" in caplog.text
