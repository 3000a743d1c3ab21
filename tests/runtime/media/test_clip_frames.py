from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media import container
from omnijet.runtime.media.sizing import Sizing
from omnijet.runtime.media.video import load_video
from tests.clip import write_clip
from tests.timed_clip import shown, write_timed_clip

MEDIA = Path(__file__).parents[2] / "media"
PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)


def test_a_browsers_recording_is_seen_in_its_time(caplog: pytest.LogCaptureFixture) -> None:
    """Its header announces 1000 frames a second, of which there are 8."""
    video = load_video(MEDIA / "wild" / "webm_1000fps.webm", PREPROCESSING, False)
    truth = load_video(MEDIA / "wild" / "truth_late1s.mp4", PREPROCESSING, False)
    assert video.frames.shape == truth.frames.shape == (8, 224, 448, 3)
    assert np.abs(video.frames.astype(int) - truth.frames).mean() < 3
    assert video.fps_sampled == 2.0
    assert [record.message.count("1000 a second") for record in caplog.records] == [1]


@pytest.mark.parametrize(
    ("name", "codec", "tick"),
    [
        ("a.mp4", "mpeg4", Fraction(1, 16_000)),
        ("a.mp4", "libx264", Fraction(1, 16_000)),  # with B frames and an edit list
        ("a.mkv", "libx264", Fraction(1, 1000)),
        ("a.webm", "libvpx", Fraction(1, 1000)),
        ("a.ts", "libx264", Fraction(1, 90_000)),
        ("a.avi", "mpeg4", Fraction(1, 25)),
        ("a.flv", "flv1", Fraction(1, 1000)),
    ],
)
def test_containers_with_regular_timestamps_keep_their_frames(
    tmp_path: Path, name: str, codec: str, tick: Fraction
) -> None:
    path = tmp_path / name
    write_timed_clip(path, [round(i / 25 / tick) for i in range(40)], tick=tick, codec=codec)
    assert shown(load_video(path, PREPROCESSING, False).frames) == [0, 13, 26, 39]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "mpeg4")])
def test_a_screen_capture_has_one_frame_for_each_change(
    tmp_path: Path, name: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    write_timed_clip(path, [7000, 10_000, 10_040, 10_080, 11_460], codec=codec)
    video = load_video(path, PREPROCESSING, False)
    # 4.5 s from the first frame on
    assert shown(video.frames) == [0, 0, 0, 0, 0, 3, 3, 4]
    assert [record.message.count("by their timestamps") for record in caplog.records] == [1]


def test_a_stretch_is_read_to_its_end_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_clip(path, 100, 10)
    seen: list[tuple[int, int]] = []
    checks: list[None] = []
    sizing = Sizing(video_start=2, video_end=4, fps=1.0)
    video = load_video(
        path, PREPROCESSING, False, None, sizing, lambda: checks.append(None),
        lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert shown(video.frames) == [20, 27, 33, 40]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(checks) < 60


def test_a_stretch_without_a_frame_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 20, 10)
    with pytest.raises(OmnijetError, match=r"within its 2\.00 s") as caught:
        load_video(tmp_path / "a.mp4", PREPROCESSING, False, None, Sizing(video_start=3))
    assert "3 s to its end" in str(caught.value)


@pytest.mark.parametrize(
    ("sizing", "size"),
    [
        (Sizing(), (280, 392)),
        (Sizing(min_pixels=28 * 28 * 4), (56, 56)),
        (Sizing(max_pixels=50_000), (196, 280)),  # below the usual least, as engines may need
        (Sizing(min_pixels=300_000), (476, 644)),
        (Sizing(resized_height=100, resized_width=210), (112, 224)),
        (Sizing(total_pixels=1), (280, 392)),
        (Sizing(total_pixels=1, min_pixels=28 * 28 * 4), (56, 56)),
    ],
)
def test_wishes_about_the_size(tmp_path: Path, sizing: Sizing, size: tuple[int, int]) -> None:
    write_clip(tmp_path / "a.mp4", 4, 2)
    frames = load_video(tmp_path / "a.mp4", PREPROCESSING, False, None, sizing).frames
    assert frames.shape[1:3] == size
    given = [np.zeros((48, 64, 3), np.uint8)] * 4
    assert load_video(given, PREPROCESSING, False, None, sizing).frames.shape == frames.shape


def test_frames_too_many_for_memory_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 20, 10)
    sizing = Sizing(nframes=20, min_pixels=10_000_000)
    with pytest.raises(OmnijetError, match="too many, or too large"):
        load_video(tmp_path / "a.mp4", PREPROCESSING, False, None, sizing)


def test_a_cut_clip_is_seen_as_far_as_it_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mkv"
    write_clip(path, 40, 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = shown(load_video(path, PREPROCESSING, False).frames)
    assert frames[0] == 0 and 12 < frames[-1] < 30 and len(frames) == 4


def test_damaged_frames_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.mp4"
    write_timed_clip(path, [100 * i for i in range(40)], codec="libx264", rate=10)
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 60):
        data[at] ^= 0x55
    path.write_bytes(data)
    frames = shown(load_video(path, PREPROCESSING, False).frames)
    assert len(frames) == 8 and frames[:4] == [0, 5, 11, 16] and frames[-1] > 30
    assert [record.message.count("as far as it goes") for record in caplog.records] == [1]


def test_reading_can_be_cancelled(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 20, 10)
    switch = Cancellation()
    with pytest.raises(Cancelled):
        load_video(
            tmp_path / "a.mp4", PREPROCESSING, False, None, Sizing(), switch.check,
            lambda done, total: switch.cancel(),
        )  # fmt: skip


def test_frames_too_large_to_decode_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.mp4", 20, 10)
    monkeypatch.setattr(container, "MAX_FRAME_PIXELS", 64 * 48)  # as large as can be
    assert len(load_video(tmp_path / "a.mp4", PREPROCESSING, False).frames) == 4
    monkeypatch.setattr(container, "MAX_FRAME_PIXELS", 64 * 48 - 1)
    with pytest.raises(OmnijetError, match="64 x 48 pixels"):
        load_video(tmp_path / "a.mp4", PREPROCESSING, False)


def test_a_header_that_hides_the_size_of_frames_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    write_timed_clip(path, [0, 500, 1000], codec="libvpx")
    data = path.read_bytes()
    at = data.index(b"\x9d\x01\x2a") + 3
    path.write_bytes(data[:at] + (12_000).to_bytes(2, "little") * 2 + data[at + 4 :])
    with pytest.raises(OmnijetError, match=r"more than [\d,]+ pixels"):
        load_video(path, PREPROCESSING, False)
