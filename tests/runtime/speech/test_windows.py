"""Window schemes: what they cover, and when they can start."""

from __future__ import annotations

import pytest

from omnijet.runtime.speech.windows import GROWING, OFFICIAL, SCHEMES, Window, Windows

BLOCK = 24


def schedule(scheme: Windows, frames: int, step: int) -> list[Window]:
    """Returns all windows of an utterance whose codes arrive `step` frames at a time."""
    done: list[Window] = []
    known = 0
    while True:
        last = known >= frames
        begin = done[-1].end if done else 0
        while window := scheme.window(len(done), begin, min(known, frames), BLOCK, last):
            done.append(window)
            begin = window.end
        if last:
            return done
        known += step


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("frames", [0, 2, 46, 48, 50, 96, 310, 720])
def test_every_frame_comes_out_once_however_the_codes_arrive(scheme: Windows, frames: int) -> None:
    windows = schedule(scheme, frames, step=2)
    assert windows == schedule(scheme, frames, step=34) == schedule(scheme, frames, step=1000)
    covered = [frame for window in windows for frame in range(window.begin, window.end)]
    assert covered == list(range(frames))
    for window in windows:
        assert window.start % BLOCK == window.begin % BLOCK == 0
        assert window.stop == min(window.end + scheme.ahead * BLOCK, frames) or (
            window.stop == window.end == frames
        )


def test_the_official_scheme_is_48_72_24() -> None:
    windows = schedule(OFFICIAL, 312, step=2)
    assert windows[:3] == [
        Window(0, 0, 72, 96),
        Window(24, 72, 144, 168),
        Window(96, 144, 216, 240),
    ]
    assert windows[-1].stop == windows[-1].end == 312


def test_growing_starts_with_24_codes_and_doubles() -> None:
    assert GROWING.window(0, 0, 46, BLOCK, last=False) is None
    assert GROWING.window(0, 0, 48, BLOCK, last=False) == Window(0, 0, 24, 48)
    sizes = [(w.end - w.begin) // BLOCK for w in schedule(GROWING, 24 * 16, step=2)]
    assert sizes == [1, 2, 4, 8, 1]
