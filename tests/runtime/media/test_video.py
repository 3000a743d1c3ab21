from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.video import (
    load_video,
    second_per_grid,
    video_patches,
)
from tests.clip import write_clip
from tests.timed_clip import shown

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)


def test_frames_are_sampled_and_resized(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, 45, 10)
    video = load_video(path, PREPROCESSING, with_audio=True)
    assert shown(video.frames) == [0, 6, 13, 19, 25, 31, 38, 44]
    assert video.fps_sampled == pytest.approx(8 / 45 * 10)
    assert video.audio is None
    # at least 100352 pixels, 64 : 48 kept
    assert video.frames.shape == (8, 280, 392, 3) and video.frames.dtype == np.uint8


def test_sound_comes_along_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, 20, 10, sound=2.0)
    audio = load_video(str(path), PREPROCESSING, with_audio=True).audio
    assert audio is not None and audio.dtype == np.float32
    assert abs(len(audio) - 32_000) < 1500
    assert load_video(str(path), PREPROCESSING, with_audio=False).audio is None


@pytest.mark.parametrize(("turn", "corner"), [(90, (1, 0)), (-90, (0, 1)), (180, (1, 1))])
def test_clips_stored_on_their_side_are_turned(
    tmp_path: Path, turn: int, corner: tuple[int, int]
) -> None:
    path = tmp_path / "phone.mp4"
    write_clip(path, 4, 2, turn=turn)
    frame = load_video(path, PREPROCESSING, with_audio=False).frames[0]
    assert (frame.shape[0] > frame.shape[1]) == (turn != 180)
    half = [side // 2 for side in frame.shape[:2]]
    row, column = corner
    white = frame[half[0] * row :, half[1] * column :][: half[0], : half[1]]
    assert white[20:-20, 20:-20].min() > 200


def test_a_long_clip_gets_smaller_frames() -> None:
    frames = [Image.new("RGB", (1200, 800), (i, 0, 0)) for i in range(4)]
    assert load_video(frames, PREPROCESSING, False).frames.shape == (4, 616, 924, 3)
    short = replace(PREPROCESSING, video_total_pixels=400_000)
    assert load_video(frames, short, False).frames.shape == (4, 364, 532, 3)
    least = replace(PREPROCESSING, video_total_pixels=1)  # never under 1.05 of the least
    assert load_video(frames, least, False).frames.shape == (4, 252, 392, 3)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_patches_equal_reference(count: int) -> None:
    rng = np.random.default_rng(count)
    frames = rng.integers(0, 256, (count, 56, 84, 3), dtype=np.uint8)
    patches, grid = video_patches(frames, PREPROCESSING)
    # the order of Qwen2VLVideoProcessor, which cannot be imported without torchvision
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    clip = (clip - torch.tensor(PREPROCESSING.mean)[:, None, None]) / torch.tensor(
        PREPROCESSING.std
    )[:, None, None]
    if count % 2:
        clip = torch.cat([clip, clip[-1:]])
    steps = len(clip) // 2
    want = clip.reshape(steps, 2, 3, 2, 2, 14, 3, 2, 14).permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    assert grid == (steps, 4, 6)
    torch.testing.assert_close(
        torch.from_numpy(patches), want.reshape(steps * 24, 1176), atol=1e-6, rtol=1e-6
    )


def test_frames_may_be_given(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    from_array = load_video(array, PREPROCESSING, with_audio=True)
    from_images = load_video(
        [Image.fromarray(frame) for frame in array], PREPROCESSING, with_audio=True
    )
    assert from_array.frames.shape == (3, 280, 392, 3) and from_array.audio is None
    np.testing.assert_array_equal(from_array.frames, from_images.frames)


def test_model_is_told_the_nominal_rate() -> None:
    assert second_per_grid(PREPROCESSING) == 1.0


def test_unusable_clips(tmp_path: Path) -> None:
    text, sound, cut = tmp_path / "a.mp4", tmp_path / "b.wav", tmp_path / "c.mp4"
    text.write_text("no clip")
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
    write_clip(cut, 20, 10)
    cut.write_bytes(cut.read_bytes()[:1500])
    strip: Any = np.zeros((2, 10, 3000, 3), np.uint8)
    for source, words in [
        (text, "cannot be read"),
        (sound, "no picture track"),
        (cut, "cannot be read"),
        (tmp_path / "gone.mp4", "cannot be opened"),
        (np.zeros((2, 4, 4), np.uint8), "array is unusable"),
        ([], "is empty"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "differ in size"),
        (strip, "aspect ratio"),
    ]:
        with pytest.raises(OmnijetError, match=words):
            load_video(source, PREPROCESSING, with_audio=False)
