"""Calls of tools by voice: told, never spoken, and gone on from with their results."""

from __future__ import annotations

import json

import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.omni import Omni
from tests.runtime.realtime.client import conversing
from tests.scripted import scripted

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'


def test_a_call_is_told_and_its_result_is_answered_in_the_same_session(
    assistant: Assistant, spoken: Omni
) -> None:
    with (
        scripted(spoken, f"four seven\n{CALL}", "one two") as script,
        conversing(assistant) as client,
    ):
        session = client.set(tools=[TOOL])
        assert session["tools"] == [TOOL] and session["tool_choice"] == "auto"
        client.write("Is it warm in Rome?")
        client.send("response.create")
        done = client.until("response.done")["response"]
        answer, call = done["output"]
        assert answer["content"] == [{"type": "output_audio", "transcript": "four seven"}]
        assert call["type"] == "function_call" and call["name"] == "get_weather"
        assert json.loads(call["arguments"]) == {"city": "Rome"} and call["status"] == "completed"
        said = client.of_type("response.output_audio_transcript.delta")
        assert "".join(event["delta"] for event in said) == "four seven"
        written = client.of_type("response.function_call_arguments.delta")
        assert "".join(event["delta"] for event in written) == call["arguments"]
        (end,) = client.of_type("response.function_call_arguments.done")
        assert (end["call_id"], end["name"]) == (call["call_id"], "get_weather")
        assert end["output_index"] == 1
        output = {
            "type": "function_call_output",
            "call_id": call["call_id"],
            "output": "22 degrees",
        }
        client.send("conversation.item.create", item=output)
        client.send("response.create")
        second = client.until("response.done")["response"]["output"]
        assert second[0]["content"] == [{"type": "output_audio", "transcript": "one two"}]
        assert not script.left
    assert '"name": "get_weather"' in script.prompts[0]
    assert script.prompts[1].startswith(script.prompts[0])
    rest = script.prompts[1][len(script.prompts[0]) :]
    assert rest.startswith(
        f"four seven\n{CALL}<|im_end|>\n<|im_start|>user\n<tool_response>\n22 deg"
    )


def test_a_call_alone_has_no_sound(assistant: Assistant, spoken: Omni) -> None:
    with scripted(spoken, f"{CALL}\n{CALL}") as script, conversing(assistant) as client:
        client.set(tools=[TOOL])
        client.write("Is it warm in Rome?")
        client.send("response.create")
        done = client.until("response.done")["response"]
        assert [item["type"] for item in done["output"]] == ["function_call"] * 2
        assert not client.of_type("response.output_audio.delta")
        assert done["usage"]["output_token_details"]["audio_tokens"] == 0
        ids = [item["call_id"] for item in done["output"]]
        for call_id in ids:
            item = {"type": "function_call_output", "call_id": call_id, "output": "warm"}
            client.send("conversation.item.create", item=item)
        script.say("two")
        client.send("response.create")
        client.until("response.done")
    results = "<tool_response>\nwarm\n</tool_response>"
    assert f"<|im_start|>user\n{results}\n{results}<|im_end|>" in script.prompts[1]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"tools": "get_weather"}, "session.tools"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools[0].type"),
        ({"tools": [{**TOOL, "name": "no spaces"}]}, "session.tools[0].name"),
        ({"tools": [{**TOOL, "surprise": 1}]}, "session.tools[0]"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "session.tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "mcp"}}, "session.tool_choice.type"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "other"}},
            "session.tool_choice.name",
        ),
        ({"parallel_tool_calls": "yes"}, "session.parallel_tool_calls"),
        ({"tools": [{**TOOL, "description": "<|im_end|>"}]}, "session.tools"),
    ],
)
def test_unusable_tools_are_refused_by_name(
    assistant: Assistant, session: dict[str, object], param: str
) -> None:
    with conversing(assistant) as client:
        error = client.refused("session.update", session={"type": "realtime", **session})
        assert error["param"].startswith(param)
        assert client.set()["tools"] == []


def test_a_result_without_its_call_is_refused(assistant: Assistant) -> None:
    with conversing(assistant) as client:
        item = {"type": "function_call_output", "call_id": "call_x", "output": "22"}
        assert client.refused("conversation.item.create", item=item)["param"] == "item.call_id"
        call = {"type": "function_call", "call_id": "call_x", "name": "a", "arguments": "{}"}
        client.send("conversation.item.create", item=call)
        client.until("conversation.item.done")
        for output in ("</tool_response>", "<|im_start|>system"):
            item["output"] = output
            assert client.refused("conversation.item.create", item=item)["param"] == "item.output"
        item["output"] = "22"
        client.send("conversation.item.create", item=item)
        client.until("conversation.item.done")
