"""Beginnings and ends of speech lie at the samples that the scores say, however long it goes on."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.voice.detector import Pauses
from omnijet.runtime.voice.piecewise import PiecewiseDetector
from tests.runtime.voice.sounds import edges, pieces

SIZE = 160  # 10 ms
PAUSES = Pauses(threshold=0.5, prefix_ms=50, silence_ms=100, speech_ms=30)


class LevelScorer:
    """Takes the first sample of a piece for its score."""

    samples = SIZE

    def __init__(self) -> None:
        self.resets = 0

    def score(self, piece: Array) -> float:
        assert piece.shape == (SIZE,)
        return float(piece[0])

    def reset(self) -> None:
        self.resets += 1


def sound(*runs: tuple[float, int]) -> Array:
    """A sound of (score, pieces)."""
    return np.concatenate([np.full(count * SIZE, score, np.float32) for score, count in runs])


def found(*runs: tuple[float, int], pauses: Pauses = PAUSES) -> list[tuple[str, int]]:
    """The edges, in pieces."""
    made = edges(PiecewiseDetector(LevelScorer(), pauses), sound(*runs))
    assert all(sample % SIZE == 0 for _, sample in made)
    return [(kind, sample // SIZE) for kind, sample in made]


def test_speech_begins_with_its_prefix_and_ends_before_the_pause() -> None:
    assert found((0, 20), (1, 8), (0, 20)) == [("started", 15), ("stopped", 28)]


def test_a_score_between_the_thresholds_keeps_speech_but_does_not_begin_it() -> None:
    assert found((0.4, 50)) == []
    assert found((0, 9), (1, 4), (0.4, 30), (0, 10)) == [("started", 4), ("stopped", 43)]
    assert found((0, 9), (1, 4), (0.3, 10)) == [("started", 4), ("stopped", 13)]


def test_what_is_shorter_than_the_shortest_speech_is_none() -> None:
    assert found((0, 9), (1, 2), (0, 30)) == []
    assert found((0, 9), (1, 2), (0, 1), (1, 2), (0, 30)) == []
    assert found((0, 9), (1, 3), (0, 30)) == [("started", 4), ("stopped", 12)]


def test_a_pause_that_is_too_short_ends_nothing() -> None:
    assert found((1, 5), (0, 9), (1, 5), (0, 10)) == [("started", 0), ("stopped", 19)]


def test_the_pause_is_a_setting() -> None:
    short = Pauses(prefix_ms=0, silence_ms=50, speech_ms=30)
    runs = ((1, 5), (0, 6), (1, 5), (0, 6))
    assert found(*runs, pauses=short) == [
        ("started", 0), ("stopped", 5), ("started", 11), ("stopped", 16)
    ]  # fmt: skip


def test_a_prefix_reaches_neither_before_the_sound_nor_into_the_speech_before() -> None:
    assert found((0, 2), (1, 5))[0] == ("started", 0)
    long = Pauses(prefix_ms=1000, silence_ms=100, speech_ms=30)
    assert found((1, 5), (0, 12), (1, 5), pauses=long)[1:] == [("stopped", 5), ("started", 5)]


@pytest.mark.parametrize("seed", range(5))
def test_how_a_sound_is_cut_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    runs = [(float(rng.random()), int(rng.integers(1, 15))) for _ in range(200)]
    whole = np.concatenate([sound(*runs), np.ones(77, np.float32)])
    expected = edges(PiecewiseDetector(LevelScorer(), PAUSES), whole)
    assert len(expected) > 5
    assert edges(PiecewiseDetector(LevelScorer(), PAUSES), *pieces(whole, seed)) == expected


def test_a_reset_leaves_the_speech_and_counts_on() -> None:
    scorer = LevelScorer()
    detector = PiecewiseDetector(scorer, PAUSES)
    assert edges(detector, sound((1, 5))) == [("started", 0)]
    assert edges(detector, np.ones(33, np.float32)) == []
    detector.reset()
    assert scorer.resets == 1
    here = 5 * SIZE + 33
    assert edges(detector, sound((0, 20))) == []  # it never began again, so it does not stop
    expected = [("started", here + 15 * SIZE), ("stopped", here + 25 * SIZE)]
    assert edges(detector, sound((1, 5), (0, 10))) == expected
    detector.reset()
    here += 35 * SIZE
    assert edges(detector, sound((1, 5))) == [("started", here)]  # no prefix from before it


def test_ten_hours_are_counted_to_the_sample() -> None:
    class Rare(LevelScorer):
        samples = 16_000

        def score(self, piece: Array) -> float:
            return float(piece[0])

    detector = PiecewiseDetector(Rare(), Pauses(prefix_ms=0, silence_ms=1000, speech_ms=1000))
    hour = np.zeros(3600 * 16_000, np.float32)
    assert edges(detector, *[hour] * 10, hour[:5]) == []
    start = 36_000 * 16_000
    second = np.ones(16_000, np.float32)
    # five samples of the piece lie before the word
    assert edges(detector, hour[: 16_000 - 5], second, hour[:32_000]) == [
        ("started", start + 16_000),
        ("stopped", start + 32_000),
    ]


def test_a_buffer_that_is_written_again_changes_nothing() -> None:
    detector = PiecewiseDetector(LevelScorer(), PAUSES)
    buffer = np.ones(SIZE // 2, np.float32)
    came = []
    for step in range(40):
        buffer[:] = 1 if step < 20 else 0
        came += edges(detector, buffer)
        buffer[:] = -1
    assert came == [("started", 0), ("stopped", 10 * SIZE)]


def test_who_listens_may_end_a_turn_sooner_or_later_than_a_pause() -> None:
    class Listener:
        """Waits longer after a speech whose last score was in between."""

        def __init__(self) -> None:
            self.begun, self.heard = 0, 0
            self.last = 0.0

        def begin(self) -> None:
            self.begun += 1

        def hear(self, samples: Array) -> None:
            self.heard += len(samples)
            self.last = float(samples[0]) or self.last

        def is_over(self, paused: int) -> bool:
            assert paused > 0
            return paused >= (4 if self.last == 1 else 30) * SIZE

    listener = Listener()
    detector = PiecewiseDetector(LevelScorer(), PAUSES, listener)
    whole = sound((1, 5), (0, 20), (1, 5), (0.4, 1), (0, 40))
    assert edges(detector, *pieces(whole, 1)) == [
        ("started", 0), ("stopped", 5 * SIZE), ("started", 20 * SIZE), ("stopped", 31 * SIZE)
    ]  # fmt: skip
    assert (listener.begun, listener.heard) == (2, len(whole))
