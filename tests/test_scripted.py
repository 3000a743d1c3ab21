"""The scripted model of other tests: it writes what it is told and speaks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import PcmChunk, Reply, TextDelta
from tests.prompts import text, user
from tests.scripted import scripted

QUESTION = user(text("Say it."))
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>'


@pytest.fixture(scope="module")
def omni(trained: tuple[Path, Path]) -> Iterator[Omni]:
    with Omni.open(trained[1], backend=OrtBackend(threads=1)) as opened:
        yield opened


def test_replies_are_written_one_after_another(omni: Omni) -> None:
    own = omni.generate(QUESTION, seed=1, speech=False)
    with scripted(omni, "four seven one", CALL) as script:
        spoken = omni.generate(QUESTION, seed=1)
        assert script.left == [CALL]
        call = omni.generate(user(text("And now?")), seed=1, speech=False)
        assert omni.generate(QUESTION, seed=1, speech=False).text == own.text
        script.say("two")
        assert omni.generate(QUESTION, seed=1, speech=False).text == "two"
    assert (spoken.text, call.text) == ("four seven one", CALL)
    assert 0.5 * 24_000 < spoken.audio.size < 3 * 24_000
    assert spoken.finish_reason == call.finish_reason == "stop"
    assert "Say it." in script.prompts[0] and "And now?" in script.prompts[1]
    assert omni.generate(QUESTION, seed=1, speech=False).text == own.text


def test_the_script_of_the_models_own_words_is_its_own_reply(omni: Omni) -> None:
    """Nothing but the choice of tokens differs, so speech does not differ either."""
    own = omni.generate(QUESTION, seed=1, greedy=True, max_codes=200)
    with scripted(omni, own.text):
        copied = omni.generate(QUESTION, seed=1, greedy=True, max_codes=200)
    assert (copied.text, copied.codes) == (own.text, own.codes)
    np.testing.assert_array_equal(copied.audio, own.audio)


def test_streams_of_several_threads_get_their_own_texts(omni: Omni) -> None:
    """Each prompt decides which text answers it."""
    replies: dict[str, Reply] = {}

    def ask(digit: str) -> None:
        stream = omni.stream(user(text(f"Say {digit}.")), seed=1, max_codes=40, preset="fast")
        events = list(stream)
        written = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert written == stream.reply.text
        assert any(isinstance(event, PcmChunk) for event in events)
        replies[digit] = stream.reply

    digits = ("one", "two", "six")
    with scripted(omni, lambda prompt: next(one for one in digits if f"Say {one}." in prompt)):
        threads = [threading.Thread(target=ask, args=(digit,)) for digit in digits]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {digit: reply.text for digit, reply in replies.items()} == {d: d for d in digits}
