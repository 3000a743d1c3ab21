"""Generated media have the right content and are always the same."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from omnijet.runtime.profiling.media import frames, picture, voice, write_clip


def test_a_clip_has_picture_and_sound(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, 2.0, 48, 64)
    with av.open(str(path)) as container:
        shown, heard = container.streams.video[0], container.streams.audio[0]
        assert (shown.width, shown.height, shown.average_rate) == (64, 48, 25)
        assert heard.rate == 16_000
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 50
    # lossy, but the picture that was made
    assert np.abs(decoded[0].astype(int) - picture(48, 64)).mean() < 40
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(sound.size / 16_000 - 2.0) < 0.15 and sound.std() > 0.02


def test_media_are_the_same_each_time() -> None:
    assert np.array_equal(voice(0.5), voice(0.5)) and voice(0.5).shape == (8000,)
    assert np.array_equal(picture(20, 30), picture(20, 30)) and picture(20, 30).shape == (20, 30, 3)
    moving = frames(3, 20, 30)
    assert np.array_equal(np.roll(moving[0], 2, axis=1), moving[2])
