"""Stop strings and text that is not spoken, whole, streamed and in sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import PcmChunk, Reply, TextDelta
from tests.prompts import text, user
from tests.scripted import scripted

QUESTION = user(text("Say it."))
LIMITS: dict[str, Any] = {"seed": 3, "greedy": True, "max_codes": 120}
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "four"}}\n</tool_call>'
UNSPOKEN = {**LIMITS, "unspoken": "<tool_call>"}


@pytest.fixture(scope="module")
def omni(trained: tuple[Path, Path]) -> Iterator[Omni]:
    with Omni.open(trained[1], backend=OrtBackend(threads=1)) as opened:
        yield opened


@pytest.fixture(params=["whole", "streamed"])
def ask(omni: Omni, request: pytest.FixtureRequest) -> Any:
    def asked(written: str, **options: Any) -> Reply:
        with scripted(omni, written) as script:
            if request.param == "whole":
                reply = omni.generate(QUESTION, **options)
            else:
                stream = omni.stream(QUESTION, **options)
                events = list(stream)
                reply = stream.reply
                deltas = [event for event in events if isinstance(event, TextDelta)]
                assert "".join(delta.text for delta in deltas) == reply.text
                assert [token for delta in deltas for token in delta.ids] == reply.text_ids
        assert not script.left
        return reply

    return asked


def test_a_reply_ends_before_its_stop_string(omni: Omni, ask: Any) -> None:
    reply = ask("four seven END one", stop="END", **LIMITS)
    assert (reply.text, reply.finish_reason, reply.cuts) == ("four seven ", "stop", ())
    written = omni.model.tokenizer.decode(reply.text_ids)
    assert written == "four seven END"  # what was generated; nothing after it was
    # and the speech is that of its text alone, but for the end mark's place
    plain = ask("four seven", **LIMITS)
    assert 0 < reply.audio.size <= 1.5 * plain.audio.size


def test_a_stop_string_that_stays_unfinished_is_text(ask: Any) -> None:
    reply = ask("four seven EN", stop=["END", "never"], speech=False, seed=1)
    assert (reply.text, reply.finish_reason) == ("four seven EN", "stop")
    cut = ask("four seven END", stop=["END"], speech=False, seed=1, max_text_tokens=4)
    assert (cut.finish_reason, "END".startswith(cut.text[len("four seven ") :])) == ("length", True)


def test_a_reply_may_stop_at_once(ask: Any) -> None:
    reply = ask("END one", stop=("one", "END"), **LIMITS)
    assert (reply.text, reply.codes, reply.audio.size) == ("", [], 0)
    assert reply.finish_reason == "stop"


def test_a_call_is_written_and_not_spoken(ask: Any) -> None:
    plain = ask("four seven one", **LIMITS)
    reply = ask(f"four seven one{CALL}", **UNSPOKEN)
    assert reply.text == f"four seven one{CALL}"
    # the Talker read the same rows and then the end mark: the speech is the same to the sample
    assert reply.codes == plain.codes and len(plain.codes) > 20
    np.testing.assert_array_equal(reply.audio, plain.audio)
    # while it reads every row of a text without the option
    assert ask(f"four seven one{CALL}", **LIMITS).codes != plain.codes


def test_a_call_alone_makes_no_sound(ask: Any) -> None:
    reply = ask(CALL, **UNSPOKEN)
    assert (reply.text, reply.codes, reply.audio.size) == (CALL, [], 0)
    assert reply.finish_reason == "stop"
    assert "talker_prefill" not in reply.timings_ms


def test_what_only_seemed_to_be_a_call_is_spoken(ask: Any) -> None:
    words = "four <tool_callone"
    assert ask(words, **UNSPOKEN).codes == ask(words, **LIMITS).codes


def test_text_streams_before_it_is_certain_to_be_spoken(omni: Omni) -> None:
    """A call's text does not wait for the speech before it."""
    with scripted(omni, f"four{CALL}"), omni.stream(QUESTION, **UNSPOKEN) as stream:
        seen = ""
        for event in stream:
            if isinstance(event, PcmChunk):
                break
            seen += event.text
        assert seen.startswith("four<tool_call>")


def test_a_session_remembers_the_text_and_goes_on_from_it(omni: Omni) -> None:
    session = omni.session()
    with scripted(omni, "four seven END one", f"one {CALL}", "two") as script:
        session.generate("First", stop="END", **LIMITS)
        assert session.messages[-1].content == "four seven "
        held = len(session.memory)
        session.generate("Second", **UNSPOKEN)
        assert session.messages[-1].content == f"one {CALL}"
        assert len(session.memory) > held
        third = session.generate("Third", **LIMITS)
    assert "four seven <|im_end|>" in script.prompts[1]
    assert f"one {CALL}<|im_end|>" in script.prompts[2]
    # the caches hold what the prompt says: the answer to all of it at once is the same
    with scripted(omni, "two"):
        fresh = omni.session(system=None)
        fresh.messages = session.messages[:-2]
        assert fresh.generate("Third", **LIMITS).codes == third.codes


def test_a_call_is_kept_whatever_was_heard_of_the_words_before(omni: Omni) -> None:
    session = omni.session()
    with scripted(omni, f"four seven one{CALL}"):
        reply = session.generate("First", **UNSPOKEN)
    assert session.messages[-1].content == f"four seven one{CALL}"
    session.heard_until(0)
    assert session.messages[-1].content == CALL
    session.heard_until(reply.audio.size // 2)
    heard, call = str(session.messages[-1].content).split("\n", 1)
    assert "four seven one".startswith(heard) and call == CALL
    session.heard_until(reply.audio.size)
    assert session.messages[-1].content == f"four seven one{CALL}"


@pytest.mark.parametrize("before", ["four ", ""])
def test_of_a_call_that_was_cut_off_nothing_is_remembered(omni: Omni, before: str) -> None:
    """The call is longer than a stream writes ahead of its reader."""
    session, call = omni.session(), CALL.replace("four", "x" * 300)
    with scripted(omni, before + call):
        stream = session.stream("Say it.", speech=False, unspoken="<tool_call>")
        for _ in range(25):
            next(stream)
        stream.cancel()
        assert stream.reply.finish_reason == "cancelled"
        assert (before + call).startswith(stream.reply.text) and len(stream.reply.text) > 20
        remembered = [message.content for message in session.messages[1:]]
    assert remembered == ["Say it.", before] if before else ["Say it."]


def test_a_control_token_that_the_model_spells_out_spoils_no_later_turn(omni: Omni) -> None:
    """Written letter by letter it is text; in the next prompt it would stand for a sound."""
    tokenizer, session = omni.model.tokenizer, omni.session()
    letters = [tokenizer.encode(letter) for letter in "one <|AUDIO|>"]
    assert all(len(ids) == 1 for ids in letters)
    with scripted(omni, [ids[0] for ids in letters]):
        reply = session.generate("First", speech=False)
    assert reply.text == "one <|AUDIO|>"
    assert session.messages[-1].content == "one "
    assert session.generate("Second", speech=False).text_ids
