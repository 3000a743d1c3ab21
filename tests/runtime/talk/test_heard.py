"""Words are placed in the time in which a reply is loud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from omnijet.runtime.talk.heard import HOP, SpokenReply, loudness_of

SECOND = 24_000


def spoken(text: str, *stretches: tuple[float, float], finished: bool = True) -> SpokenReply:
    """A reply whose sound has stretches of (seconds, loudness)."""
    parts = [np.full(round(seconds * SECOND), level) for seconds, level in stretches]
    sound = np.concatenate([np.empty(0, np.float32), *parts]).astype(np.float32)
    return SpokenReply(text, loudness_of(sound), finished)


def test_loudness_is_of_whole_hops() -> None:
    sound = np.concatenate([np.full(HOP, 0.5), np.zeros(HOP + 7)]).astype(np.float32)
    np.testing.assert_allclose(loudness_of(sound), [0.5, 0.0])


def test_equal_words_take_equal_shares() -> None:
    reply = spoken("four nine five zero", (2.0, 0.3))
    heard = [reply.heard_by(round(seconds * SECOND)) for seconds in (0, 0.4, 0.6, 1.1, 1.9, 2.0)]
    assert heard == ["", "", "four", "four nine", "four nine five", "four nine five zero"]


def test_a_word_counts_once_all_of_it_has_sounded() -> None:
    reply = spoken("extraordinarily so", (1.0, 0.3))
    assert reply.heard_by(round(0.8 * SECOND)) == ""
    assert reply.heard_by(round(0.9 * SECOND)) == "extraordinarily"


def test_pauses_take_no_word() -> None:
    reply = spoken("left, right", (0.5, 0.001), (0.5, 0.3), (3.0, 0.001), (0.55, 0.3))
    assert reply.heard_by(round(0.9 * SECOND)) == ""
    assert reply.heard_by(round(1.02 * SECOND)) == "left,"
    assert reply.heard_by(round(3.9 * SECOND)) == "left,"
    assert reply.heard_by(10 * SECOND) == "left, right"


def test_speech_that_goes_on_is_placed_by_pace() -> None:
    text = "one two three four five six seven eight nine ten"
    reply = spoken(text, (1.0, 0.3), finished=False)
    assert reply.heard_by(SECOND) == "one two three"  # of 49 letters at 14 a second
    assert reply.heard_by(SECOND, letters_per_second=28.0) == "one two three four five six"
    # what sounded longer than the pace allows is all there is
    slow = spoken(text, (9.0, 0.3), finished=False)
    assert slow.heard_by(9 * SECOND) == text
    assert slow.heard_by(round(4.5 * SECOND)) == "one two three four five"


def test_the_pace_is_that_of_finished_speech() -> None:
    reply = spoken("four nine", (0.5, 0.3), (1.0, 0.0))
    assert reply.letters_per_second == pytest.approx(20.0)
    assert spoken("four nine", (0.5, 0.3), finished=False).letters_per_second is None
    assert spoken("four nine").letters_per_second is None


def test_words_without_spaces_and_digits() -> None:
    reply = spoken("你好,世界", (1.0, 0.3))
    assert [reply.heard_by(round(part * SECOND)) for part in (0.3, 0.55, 0.99)] == [
        "你",
        "你好,",
        "你好,世",
    ]
    assert spoken("7 sevens", (1.0, 0.3)).heard_by(round(0.45 * SECOND)) == "7"


@pytest.mark.parametrize("text", ["", "   ", "...", "!? --"])
def test_texts_without_letters(text: str) -> None:
    reply = spoken(text, (1.0, 0.3))
    assert text.startswith(reply.heard_by(SECOND // 2))
    assert reply.heard_by(SECOND) == text
    assert spoken(text, finished=False).heard_by(SECOND) == ""


def test_what_is_not_spoken_is_kept_whatever_was_heard() -> None:
    words = spoken("four nine five zero", (2.0, 0.3))
    reply = replace(words, unspoken="<tool_call>")
    assert reply.letters_per_second == words.letters_per_second
    heard = [reply.heard_by(round(seconds * SECOND)) for seconds in (0, 1.1, 2.0)]
    assert heard == ["<tool_call>", "four nine\n<tool_call>", "four nine five zero<tool_call>"]
    silent = replace(spoken("", finished=False), unspoken="<tool_call>")
    assert silent.heard_by(0) == silent.heard_by(SECOND) == "<tool_call>"
