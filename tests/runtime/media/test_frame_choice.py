from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.clip_times import Mark, Stamps, stamps_of
from omnijet.runtime.media.frame_choice import (
    EmptyStretchError,
    choose,
    frame_count,
    frame_indices,
    steady_rate,
)
from omnijet.runtime.media.sizing import Sizing

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)
RATES = (2.0, 5.0, 8.0, 10.0, 12.5, 15.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0,
         60000 / 1001, 60.0, 120.0)  # fmt: skip


def stamps(seconds: list[float], last: float = 0.0, header: float | None = None) -> Stamps:
    marks = [Mark(time, None) for time in seconds]
    marks[-1] = Mark(seconds[-1], None, last)
    return stamps_of(marks, 0.001, header)


def by_index(total: int, rate: float, sizing: Sizing = Sizing()) -> list[int]:  # noqa: B008
    return frame_indices(total, frame_count(total, rate, PREPROCESSING, sizing)).tolist()


@pytest.mark.parametrize("seed", range(300))
def test_frames_that_come_evenly_are_chosen_by_number(seed: int) -> None:
    """Whatever the clock of the container, the start, the order and a camera's jitter."""
    rng = random.Random(seed)
    rate, total = rng.choice(RATES), rng.randrange(1, 2000)
    tick = rng.choice([1 / rate, 0.001, 1 / 90_000, 1 / 16_384, 0.01 if rate < 50 else 0.001])
    begin = rng.choice([0.0, rng.uniform(-3, 100_000)])
    jitter = 0.0 if tick > 0.2 / rate else rng.choice([0.0, rng.uniform(0, min(0.3 / rate, 0.03))])
    times = [begin + i / rate + rng.uniform(-jitter, jitter) for i in range(total)]
    marks = [Mark(round(time / tick) * tick, None, rng.choice([0.0, 1 / rate])) for time in times]
    for at in range(0, total - 3, 4):  # as B frames are decoded
        marks[at + 1 : at + 3] = marks[at + 2], marks[at + 1]
    choice = choose(stamps_of(marks, tick, rate), PREPROCESSING, Sizing())
    assert choice.frames.tolist() == by_index(total, rate)
    assert choice.is_by_header
    assert choice.fps_sampled == pytest.approx(len(choice.frames) / total * rate)


@pytest.mark.parametrize("seed", range(100))
def test_a_wrong_header_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    rate, total = rng.choice(RATES), rng.randrange(20, 2000)
    times = [round(1000 * i / rate) / 1000 for i in range(total)]
    header = rng.choice([1000.0, 90_000.0, rate / 3, rate * 1.7, None])
    choice = choose(stamps(times, 0.001, header), PREPROCESSING, Sizing())
    assert choice.frames.tolist() == by_index(total, rate)


@pytest.mark.parametrize("seed", range(200))
def test_frames_that_come_unevenly_are_those_on_display(seed: int) -> None:
    rng = random.Random(seed)
    gaps = [rng.choice([0.001, 0.033, 0.1, 0.7, rng.uniform(1, 9)]) for _ in range(40)]
    times = np.cumsum([0.0, *gaps]).round(3)
    last = rng.choice([0.0, 0.04, 6.0])
    found = stamps(times.tolist(), last, rng.choice([25.0, 1000.0]))
    assert steady_rate(found, 2.0) is None
    choice = choose(found, PREPROCESSING, Sizing())
    assert np.all(np.diff(choice.frames) >= 0) and choice.frames[0] == 0
    assert abs(len(choice.frames) - 2 * found.duration) <= 2 and len(choice.frames) % 2 == 0
    wanted = np.linspace(0, found.duration, len(choice.frames), endpoint=False)
    step = found.duration / len(wanted)
    ends = np.append(times[1:], found.duration)
    for time, frame in zip(wanted, choice.frames, strict=True):
        # evenly spaced times, which end with the last frame's begin or a step before its end
        assert times[frame] <= time + step + 1e-6 and time < ends[frame] + 1e-6
    assert not choice.is_by_header


def test_a_still_screen_is_looked_at_all_the_time() -> None:
    found = stamps([0.0, 10.0, 10.1, 10.2, 19.95], 0.05, 25.0)
    frames = choose(found, PREPROCESSING, Sizing()).frames.tolist()
    assert len(frames) == 40
    assert [frames.count(number) for number in range(5)] == [20, 0, 0, 19, 1]


def test_a_last_frame_that_stays_is_looked_at_as_long() -> None:
    times = [i / 25 for i in range(50)]
    frames = choose(stamps(times, 8.04, 25.0), PREPROCESSING, Sizing()).frames.tolist()
    assert len(frames) == 20 and frames.count(49) == 16


def test_a_slow_clip_is_not_stretched() -> None:
    """As the reference has it, if the header is right."""
    slow = stamps([0.0, 1.0, 2.0, 3.0, 4.0], 1.0, 1.0)
    assert choose(slow, PREPROCESSING, Sizing()).frames.tolist() == [0, 1, 3, 4]
    unknown = stamps([0.0, 1.0, 2.0, 3.0, 4.0], 1.0, 30.0)
    assert choose(unknown, PREPROCESSING, Sizing()).frames.tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
    ]


def test_a_clip_that_is_over_at_once_is_not_stretched() -> None:
    flash = stamps([0.0, 0.01, 0.5], 0.04, 25.0)
    assert choose(flash, PREPROCESSING, Sizing()).frames.tolist() == [0, 2]
    assert choose(stamps([0.0], 600.0, 25.0), PREPROCESSING, Sizing()).frames.tolist() == [0]


@pytest.mark.parametrize(
    ("total", "fps", "count"),
    # 2 a second, at least 4, at most 768 and the clip's own, an even number
    [
        (300, 30, 20),
        (45, 10, 8),
        (10, 30, 4),
        (3, 30, 2),
        (2, 2, 2),
        (1, 25, 1),
        (5, 1, 4),
        (100_000, 25, 768),
        (1000, 23.976, 82),
    ],
)
def test_frame_count(total: int, fps: float, count: int) -> None:
    assert frame_count(total, fps, PREPROCESSING) == count


@pytest.mark.parametrize(
    ("total", "fps", "wishes", "count"),
    # what `smart_nframes` of qwen_omni_utils 0.0.9 returns
    [
        (300, 30, {"nframes": 7}, 8),
        (300, 30, {"nframes": 5}, 4),
        (300, 30, {"nframes": 16}, 16),
        (300, 30, {"fps": 1.0}, 10),
        (300, 30, {"fps": 30.0}, 300),
        (300, 30, {"fps": 100.0}, 300),
        (300, 30, {"fps": 0.1}, 4),
        (300, 30, {"fps": 0.1, "min_frames": 7}, 8),
        (300, 30, {"max_frames": 7}, 6),
        (300, 30, {"max_frames": 7, "fps": 4.0}, 6),
        (300, 30, {"min_frames": 30, "max_frames": 40}, 30),
        (100_000, 25, {"max_frames": 1000}, 1000),
        (301, 30, {"fps": 60.0}, 300),
        # where it refuses, as many as there are
        (10, 30, {"nframes": 16}, 10),
        (300, 30, {"nframes": 1}, 1),
    ],
)
def test_wishes_about_the_count(
    total: int, fps: float, wishes: dict[str, float], count: int
) -> None:
    sizing = Sizing(**wishes)  # type: ignore[arg-type]
    assert frame_count(total, fps, PREPROCESSING, sizing) == count


def test_indices_equal_reference() -> None:
    for total in range(2, 400, 7):
        for count in range(2, total + 1, 2):
            want = torch.linspace(0, total - 1, count).round().long().numpy()
            np.testing.assert_array_equal(frame_indices(total, count), want)
    assert frame_indices(1, 1).tolist() == [0]


def test_a_stretch_is_cut_as_the_reference_cuts_it() -> None:
    even = stamps([i / 10 for i in range(100)], 0.1, 10.0)
    # frames ceil(2.15 * 10) to floor(4.68 * 10)
    sizing = Sizing(video_start=2.15, video_end=4.68)
    want = torch.linspace(22, 46, 4).round().long().tolist()
    assert choose(even, PREPROCESSING, sizing).frames.tolist() == want
    late = choose(even, PREPROCESSING, Sizing(video_start=7)).frames
    assert late.tolist() == torch.linspace(70, 99, 6).round().long().tolist()
    early = choose(even, PREPROCESSING, Sizing(video_end=99)).frames
    assert early.tolist() == by_index(100, 10.0)
    for nothing in (Sizing(video_start=10), Sizing(video_start=2.01, video_end=2.05)):
        with pytest.raises(EmptyStretchError):
            choose(even, PREPROCESSING, nothing)


def test_a_stretch_of_an_uneven_clip_is_cut_by_time() -> None:
    found = stamps([0.0, 10.0, 10.1, 10.2, 19.95], 0.05, 25.0)
    sizing = Sizing(video_start=5, video_end=15)
    frames = choose(found, PREPROCESSING, sizing).frames.tolist()
    assert len(frames) == 20 and set(frames) == {0, 3} and frames.count(0) == 10
    for nothing in (Sizing(video_start=20), Sizing(video_start=3, video_end=3)):
        with pytest.raises(EmptyStretchError):
            choose(found, PREPROCESSING, nothing)
    assert len(choose(found, PREPROCESSING, Sizing(nframes=6)).frames) == 6
    assert len(choose(found, PREPROCESSING, Sizing(max_frames=9)).frames) == 8
