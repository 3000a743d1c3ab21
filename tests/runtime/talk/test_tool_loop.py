"""Tools by voice: a call is written and not spoken, its result goes on in the same session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.tool_calls import (
    CallArguments,
    CallBegun,
    CallEnded,
    Piece,
    Text,
    ToolCallParser,
    joined,
)
from omnijet.runtime.prompt.tool_text import Call
from omnijet.runtime.prompt.tools import Tools
from omnijet.runtime.talk.reply import PcmChunk, TextDelta
from omnijet.runtime.talk.session import Session
from tests.conftest import ROOT
from tests.scripted import scripted

LOOK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks up a number.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
MEDIA = ROOT / "tests" / "media"
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "Köln"}}\n</tool_call>'
LIMITS: dict[str, Any] = {"seed": 3, "greedy": True, "max_codes": 120}


@pytest.fixture(scope="module")
def omni(trained: tuple[Path, Path]) -> Iterator[Omni]:
    with Omni.open(trained[1], backend=OrtBackend(threads=1)) as opened:
        yield opened


def asked(session: Session, tools: Tools, content: str, **options: Any) -> tuple[list[Piece], int]:
    """The pieces of a reply as they come, and the samples of its sound."""
    parser, pieces, samples = ToolCallParser(tools.names), [], 0
    marks = {"unspoken": tools.unspoken, "stop": tools.stop, "begin": tools.begin}
    for event in session.stream(content, preset="fast", **LIMITS, **marks, **options):
        if isinstance(event, TextDelta):
            pieces += parser.push(event.text)
        else:
            assert isinstance(event, PcmChunk)
            samples += event.samples.size
    return joined([*pieces, *parser.rest()]), samples


def test_a_spoken_question_is_answered_with_a_tools_result(omni: Omni) -> None:
    tools = Tools.of([LOOK])
    session = omni.session(system=tools.system_text("You are kind."))
    with scripted(omni, f"four\n{CALL}", "four seven one") as script:
        pieces, samples = asked(session, tools, "What is it?")
        begun = [CallBegun(0, "look", True), CallArguments(0, '{"at": "Köln"}'), CallEnded(0)]
        assert pieces == [Text("four"), *begun]
        assert 0 < samples < 2 * 24_000
        # what the session remembers is what the template writes of such an answer
        call = Call("look", '{"at": "Köln"}')
        assert session.messages[-1].content == tools.assistant_text("four", [call])
        known = len(session.memory)
        pieces, samples = asked(session, tools, tools.response_text(["471"]))
        assert pieces == [Text("four seven one")] and samples > 24_000 // 2
    assert "<tool_response>\n471\n</tool_response><|im_end|>" in script.prompts[1]
    assert json.dumps(LOOK) in script.prompts[1] and f"four\n{CALL}<|im_end|>" in script.prompts[1]
    # the second prompt went on from the caches of the first turn
    assert session.memory.recall(session.memory.fingerprints, session.memory.positions) > known


@pytest.mark.parametrize("before", ["four ", ""])
def test_one_call_ends_a_reply_that_may_have_one(omni: Omni, before: str) -> None:
    tools = Tools.of([LOOK], "auto", False)
    with scripted(omni, before + CALL + CALL + "one"):
        pieces, samples = asked(omni.session(), tools, "Look.")
    assert [type(one) for one in pieces if not isinstance(one, Text)] == [
        CallBegun, CallArguments, CallEnded,
    ]  # fmt: skip
    assert bool(samples) == bool(before)


def test_a_reply_begins_as_the_choice_wants(omni: Omni) -> None:
    named = {"type": "function", "function": {"name": "look"}}
    for choice, rest in (("required", 'look", "arguments": {}}'), (named, ' {"at": "Rom"}}')):
        tools = Tools.of([LOOK], choice)
        with scripted(omni, rest):
            pieces, samples = asked(omni.session(), tools, "Look.")
        arguments = "{}" if choice == "required" else '{"at": "Rom"}'
        assert pieces == [CallBegun(0, "look", True), CallArguments(0, arguments), CallEnded(0)]
        assert samples == 0


def test_the_model_goes_on_from_what_a_reply_begins_with(omni: Omni) -> None:
    """As if it had written it: the beginning of its own answer leads to its own answer."""
    question = [{"role": "user", "content": [{"type": "audio", "audio": MEDIA / "question.wav"}]}]
    own = omni.generate(question, **LIMITS)
    assert own.text == "four seven one" and len(own.text_ids) == 4
    begun = omni.generate(question, begin="four seven", **LIMITS)
    assert (begun.text_ids, begun.codes) == (own.text_ids, own.codes)
    other = omni.generate(question, begin="two", speech=False)
    assert other.text.startswith("two")
    cut = omni.generate(question, begin="seven one two", speech=False, max_text_tokens=2)
    assert (cut.text, cut.finish_reason) == ("seven one", "length")
