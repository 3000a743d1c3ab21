"""Tests of word ends: they follow flite's phones at the codec's rate and are cached."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from omnijet.nano.training import word_times
from omnijet.nano.training.reply_speech import Spoken
from omnijet.nano.training.word_times import word_ends
from omnijet.nano.world.speech import RATE_HZ, REPLY_MANNERS, say

TEXTS = ("yes", "turn left five", "three yellow stars", "zero zero one")

pytestmark = pytest.mark.skipif(
    shutil.which("flite") is None, reason="flite is not installed (Debian package flite)"
)


def spoken(voice: str) -> list[Spoken]:
    return [Spoken(text, voice, np.empty(0), np.empty(0)) for text in TEXTS]


@pytest.mark.parametrize("voice", REPLY_MANNERS)
def test_words_end_in_order_and_before_the_silence(voice: str, tmp_path: Path) -> None:
    for text, ends in zip(TEXTS, word_ends(tmp_path, spoken(voice)), strict=True):
        assert len(ends) == len(text.split()) and ends == sorted(set(ends))
        samples = np.abs(say(text, REPLY_MANNERS[voice]).astype(int))
        loud = np.flatnonzero(samples > 0.05 * samples.max())
        # the last word ends near the end of the sound, and the first after its start
        assert -2 < ends[-1] - 50 * loud[-1] / RATE_HZ < 12
        assert ends[0] / 50 > loud[0] / RATE_HZ
        assert ends[-1] <= len(samples) / RATE_HZ * 50


def test_word_ends_are_cached_and_only_missing_ones_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = word_ends(tmp_path, spoken("Ethan"))
    monkeypatch.setattr(word_times, "_ends", lambda voice, text: pytest.fail("timed again"))
    assert word_ends(tmp_path, spoken("Ethan")[::-1]) == first[::-1]
    assert [path.name for path in tmp_path.iterdir()] == ["word_ends.json"]
