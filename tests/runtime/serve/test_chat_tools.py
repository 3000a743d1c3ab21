"""Tools over HTTP with the official client of OpenAI: called, answered, never spoken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.omni import Omni
from tests.scripted import Script, scripted
from tests.serving import MODEL, serving

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ASKED: Any = {"role": "user", "content": "Is it warm in Rome?"}
SPOKEN: Any = {"modalities": ["text", "audio"], "audio": {"voice": "Ethan", "format": "pcm16"}}


def call(city: str) -> str:
    return f'<tool_call>\n{{"name": "weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'


@contextmanager
def client(omni: Omni, *texts: str) -> Iterator[tuple[openai.OpenAI, Script]]:
    with (
        Assistant(omni) as assistant,
        serving(assistant) as url,
        scripted(omni, *texts) as script,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made,
    ):
        yield made, script


def test_a_call_is_answered_and_the_conversation_goes_on(spoken: Omni) -> None:
    with client(spoken, call("Rome"), "Yes, it is.") as (api, script):
        first = api.chat.completions.create(model=MODEL, messages=[ASKED], tools=[WEATHER])
        (choice,) = first.choices
        assert choice.finish_reason == "tool_calls" and choice.message.content is None
        (made,) = choice.message.tool_calls or []
        assert made.type == "function" and made.function.name == "weather"
        assert json.loads(made.function.arguments) == {"city": "Rome"}
        result: Any = {"role": "tool", "tool_call_id": made.id, "content": "22 degrees"}
        said: Any = choice.message.model_dump()  # as a client has it, with all its empty fields
        second = api.chat.completions.create(
            model=MODEL, messages=[ASKED, said, result], tools=[WEATHER]
        )
        assert second.choices[0].message.content == "Yes, it is."
        assert second.choices[0].finish_reason == "stop"
        prompt = script.prompts[1]
        assert '"name": "weather", "description": "The weather of a city."' in prompt
        assert f"<|im_start|>assistant\n{call('Rome')}<|im_end|>" in prompt
        assert "<tool_response>\n22 degrees\n</tool_response>" in prompt
        used = second.usage and second.usage.prompt_tokens_details
        assert used and used.cached_tokens and used.cached_tokens > 50  # the tools were fed once


def test_a_call_is_streamed_as_openai_does_and_not_spoken(spoken: Omni) -> None:
    with client(spoken, f"Wait. {call('Rome')}\n{call('Ulm')}") as (api, _):
        stream = api.chat.completions.create(
            model=MODEL, messages=[ASKED], tools=[WEATHER], stream=True, seed=1, **SPOKEN
        )
        said, calls, finish = "", dict[int, dict[str, str]](), None
        for piece in stream:
            (choice,) = piece.choices
            finish = choice.finish_reason or finish
            audio: Any = getattr(choice.delta, "audio", None)
            said += (audio and audio.transcript) or ""
            assert not choice.delta.content
            for part in choice.delta.tool_calls or []:
                assert part.function is not None
                if part.id:
                    assert part.index not in calls and part.type == "function"
                    calls[part.index] = {"name": part.function.name or "", "arguments": ""}
                calls[part.index]["arguments"] += part.function.arguments or ""
        assert said == "Wait." and finish == "tool_calls"
        assert {index: one["name"] for index, one in calls.items()} == {0: "weather", 1: "weather"}
        cities = [json.loads(one["arguments"])["city"] for one in calls.values()]
        assert cities == ["Rome", "Ulm"]


def test_a_spoken_request_may_be_answered_by_a_call_alone(spoken: Omni) -> None:
    asked: Any = {**SPOKEN, "audio": {"voice": "Ethan", "format": "wav"}}
    with client(spoken, call("Rome")) as (api, _):
        reply = api.chat.completions.create(
            model=MODEL, messages=[ASKED], tools=[WEATHER], **asked
        ).choices[0]
        assert reply.finish_reason == "tool_calls" and reply.message.tool_calls
        assert reply.message.audio is None and reply.message.content is None


def test_one_call_at_a_time_ends_the_reply_after_the_first(spoken: Omni) -> None:
    with client(spoken, f"{call('Rome')}\n{call('Ulm')}") as (api, _):
        reply = api.chat.completions.create(
            model=MODEL, messages=[ASKED], tools=[WEATHER], parallel_tool_calls=False
        ).choices[0]
        (made,) = reply.message.tool_calls or []
        assert made.type == "function" and "Rome" in made.function.arguments
        assert reply.finish_reason == "tool_calls"


def test_without_tools_a_call_is_text(spoken: Omni) -> None:
    with client(spoken, call("Rome"), call("Rome")) as (api, _):
        for tools in ({}, {"tools": [WEATHER], "tool_choice": "none"}):
            reply: Any = api.chat.completions.create(model=MODEL, messages=[ASKED], **tools)
            assert reply.choices[0].message.content == call("Rome")
            assert reply.choices[0].finish_reason == "stop"


def test_a_call_that_the_limit_cuts_says_so(spoken: Omni) -> None:
    with client(spoken, call("Rome")) as (api, _):
        reply = api.chat.completions.create(
            model=MODEL, messages=[ASKED], tools=[WEATHER], max_completion_tokens=24
        ).choices[0]
        assert reply.finish_reason == "length"


def test_stop_strings_end_the_text(spoken: Omni) -> None:
    with client(spoken, "one two three four", "one two three four") as (api, _):
        whole = api.chat.completions.create(
            model=MODEL, messages=[ASKED], stop=["three", "four"]
        ).choices[0]
        assert (whole.message.content, whole.finish_reason) == ("one two ", "stop")
        stream = api.chat.completions.create(
            model=MODEL, messages=[ASKED], stop="three", stream=True
        )
        assert "".join(piece.choices[0].delta.content or "" for piece in stream) == "one two "


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
def test_a_call_can_be_required(spoken: Omni, choice: Any) -> None:
    rest = call("Rome").partition('"name": "weather", "arguments":')[2]
    if choice == "required":
        rest = call("Rome").partition('{"name": "')[2]
    with client(spoken, rest) as (api, _):
        reply = api.chat.completions.create(
            model=MODEL, messages=[ASKED], tools=[WEATHER], tool_choice=choice
        ).choices[0]
        (made,) = reply.message.tool_calls or []
        assert made.type == "function" and json.loads(made.function.arguments) == {"city": "Rome"}
        assert made.function.name == "weather" and reply.finish_reason == "tool_calls"
