from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media import animation
from omnijet.runtime.media.video import load_clip_sound, load_video
from tests.timed_clip import shown

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)
FORMATS = {"a.gif": {}, "a.png": {}, "a.webp": {"lossless": True}, "a.avif": {"quality": 100}}


def write(path: Path, durations: list[int], **options: Any) -> None:
    frames = []
    for number in range(len(durations)):
        frame = Image.new("RGB", (64, 48), (5 * number,) * 3)
        ImageDraw.Draw(frame).rectangle((0, 0, 31, 23), "white")
        frames.append(frame)
    try:
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)
    except (KeyError, OSError, ValueError) as error:
        pytest.skip(f"this Pillow writes no {path.suffix}: {error}")


@pytest.mark.parametrize("name", FORMATS)
def test_animations_are_clips(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, [100] * 31, **FORMATS[name])
    assert shown(load_video(path, PREPROCESSING, True).frames) == [0, 6, 12, 18, 24, 30]
    write(path, [1000, 100, 100, 100, 1200, 500], **FORMATS[name])
    video = load_video(path.read_bytes(), PREPROCESSING, True)
    assert shown(video.frames) == [0, 0, 1, 4, 4, 5]  # of 3 s
    assert video.audio is None
    assert load_clip_sound(path, PREPROCESSING, "clip") is None


def test_frames_that_last_no_time_last_as_in_browsers(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", [0] * 40)
    assert load_video(tmp_path / "a.gif", PREPROCESSING, False).fps_sampled == pytest.approx(2)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_white_shows_where_an_animation_is_transparent(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGBA", (64, 48), (255, 0, 0, 255)) for _ in range(4)]
    for number, frame in enumerate(frames):
        ImageDraw.Draw(frame).rectangle((40 - number, 24, 63, 47), (0, 0, 0, 0))
    disposal = 2 if name == "a.gif" else 1  # back to the background
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], duration=500, disposal=disposal
    )
    made = load_video(tmp_path / name, PREPROCESSING, False).frames
    assert made[:, 250:, 350:].min() > 250
    assert made[:, 5, 5, 0].min() > 200 and made[:, 5, 5, 1].max() < 40


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.jpg", "a.bmp"])
def test_a_still_picture_is_a_clip_of_one_frame(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (64, 48), (200, 10, 10)).save(tmp_path / name)
    assert len(load_video(tmp_path / name, PREPROCESSING, True).frames) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_animations(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, [100] * 31, **FORMATS[name])
    data = path.read_bytes()
    for size in (12, 40, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:size])
        try:
            assert len(load_video(path, PREPROCESSING, False).frames) >= 1
        except OmnijetError as error:
            assert "cannot be read" in str(error)


def test_an_animation_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = io.BytesIO()
    frames = [Image.new("RGB", (100, 100), colour) for colour in ("red", "blue", "green")]
    frames[0].save(made, "GIF", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(animation, "MOST_PIXELS", 40_000)
    assert len(load_video(made.getvalue(), PREPROCESSING, False).frames)
    monkeypatch.setattr(animation, "MOST_PIXELS", 29_999)
    with pytest.raises(OmnijetError, match="too long, or too large"):
        load_video(made.getvalue(), PREPROCESSING, False)
