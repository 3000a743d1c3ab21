"""Tests of the recogniser on the speech engine's words and on silence."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile

from omnijet.nano.evaluation.heldout import open_set
from omnijet.nano.evaluation.recogniser import RATE_HZ, Recogniser
from omnijet.nano.evaluation.scores import word_errors
from omnijet.runtime.errors import OmnijetError


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser()


def test_it_hears_the_originals(recogniser: Recogniser) -> None:
    errors = words = 0
    with open_set() as items:
        for item in [item for item in items if item.skill == "speak"][:30]:
            assert item.original is not None
            sound, rate = soundfile.read(item.original, dtype="float32")
            assert rate == RATE_HZ
            wanted = item.answer.split()
            errors += word_errors(wanted, recogniser.words(sound, rate))
            words += len(wanted)
    assert errors / words < 0.1


def test_sounds_of_other_rates_are_resampled(recogniser: Recogniser) -> None:
    with open_set() as items:
        item = next(item for item in items if item.skill == "speak" and item.voice == "Ethan")
        assert item.original is not None
        sound, _ = soundfile.read(item.original, dtype="float32")
    slower = np.repeat(sound, 3)
    assert recogniser.words(slower, 3 * RATE_HZ) == recogniser.words(sound, RATE_HZ)
    assert recogniser.words(sound, RATE_HZ) == item.answer.split()


def test_nothing_is_no_words(recogniser: Recogniser) -> None:
    assert recogniser.words(np.empty(0, np.float32), RATE_HZ) == []


def test_without_pocketsphinx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(OmnijetError, match=r"omnijet\[eval\]"):
        Recogniser()
