"""Tools as a request gives them, and as Qwen2.5's chat template writes them."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import groupby
from typing import Any

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.chat import DEFAULT_CHAT_TEMPLATE, render_chat
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.prompt.tool_text import Call, calls_of
from omnijet.runtime.prompt.tools import DEFAULT_SYSTEM_PROMPT, Tools
from tests.conftest import ROOT

# rendered by transformers 4.57.6 with the template published with Qwen2.5-7B-Instruct
GOLDEN = json.loads((ROOT / "tests" / "golden" / "tools.json").read_text(encoding="utf-8"))
WEATHER: dict[str, Any] = GOLDEN[0]["tools"][0]
CALL = {"id": "c", "type": "function", "function": {"name": "ping", "arguments": '{"n": 1}'}}


def laid_out(tools: Tools, conversation: list[dict[str, Any]]) -> list[Message]:
    """A conversation with tools in messages that the model's own template takes."""
    made = []
    for role, group in groupby(conversation, lambda message: message["role"]):
        for message in [list(group)] if role == "tool" else [[one] for one in group]:
            content = message[0]["content"]
            if role == "tool":
                results = [one["content"] for one in message]
                made.append(Message("user", tools.response_text(results)))
            elif role == "system":
                made.append(Message("system", tools.system_text(content)))
            elif "tool_calls" in message[0]:
                calls = calls_of(message[0]["tool_calls"])
                made.append(Message("assistant", tools.assistant_text(content, calls)))
            else:
                made.append(Message(role, content))
    return made


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_prompts_are_those_of_the_template_of_the_text_models(case: dict[str, Any]) -> None:
    messages = laid_out(Tools.of(case["tools"]), case["messages"])
    assert render_chat(messages, DEFAULT_CHAT_TEMPLATE) == case["text"]


def test_without_a_system_prompt_stands_what_this_model_reads_then() -> None:
    bare = render_chat([Message("user", "Hi")], DEFAULT_CHAT_TEMPLATE)
    assert f"system\n{DEFAULT_SYSTEM_PROMPT}<|im_end|>" in bare
    text = Tools.of([WEATHER]).system_text(None)
    assert text == Tools.of([WEATHER]).system_text(DEFAULT_SYSTEM_PROMPT)
    assert Tools.of([]).system_text("So") == Tools.of(None).system_text("So") == "So"


def test_a_tool_is_what_the_client_wrote_but_for_what_says_nothing() -> None:
    function = {"strict": False, "description": None, **WEATHER["function"], "parameters": None}
    (line,) = Tools.of([{"type": "function", "function": function}]).lines
    kept = {key: WEATHER["function"][key] for key in ("description", "name")}
    assert json.loads(line) == {"type": "function", "function": kept}


def test_the_choice_decides_what_a_reply_begins_with() -> None:
    def begin(choice: Any) -> str:
        return Tools.of([WEATHER], choice).begin

    named = {"type": "function", "function": {"name": "get_weather"}}
    assert begin(None) == begin("auto") == begin("none") == ""
    assert begin("required") == '<tool_call>\n{"name": "'
    assert begin(named) == '<tool_call>\n{"name": "get_weather", "arguments":'
    # what it begins with is the beginning of what the template writes
    assert Call("get_weather", "{}").as_written().startswith(begin(named))
    none = Tools.of([WEATHER], "none")
    assert (none.names, none.unspoken, none.stop) == ((), (), ())
    assert none.system_text("So") == "So"


def test_calls_are_not_spoken_and_one_call_ends_the_reply() -> None:
    tools = Tools.of([WEATHER])
    assert (tools.names, tools.unspoken, tools.stop) == (("get_weather",), ("<tool_call>",), ())
    one = Tools.of([WEATHER], "auto", False)
    assert one.stop == ("</tool_call>",) and not one.is_parallel and Tools.of([]).unspoken == ()


def changed(path: str, value: Any) -> Any:
    tools: Any = deepcopy([WEATHER])
    place, *keys = path.split("/")
    target: Any = tools[int(place)]
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    return tools


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("tools", "choice", "parallel", "where"),
    [
        ({}, None, None, "tools"),
        ("a", None, None, "tools"),
        ([WEATHER] * 129, None, None, "tools"),
        ([3], None, None, "tools[0]"),
        ([WEATHER, WEATHER], None, None, "tools[1].function.name"),
        ([{"type": "function"}], None, None, "tools[0]"),
        (changed("0/type", "retrieval"), None, None, "tools[0].type"),
        (changed("0/more", 1), None, None, "tools[0]"),
        (changed("0/function/name", "a b"), None, None, "tools[0].function.name"),
        (changed("0/function/name", "a\n"), None, None, "tools[0].function.name"),
        (changed("0/function/name", "é"), None, None, "tools[0].function.name"),
        (changed("0/function/name", "a" * 65), None, None, "tools[0].function.name"),
        (changed("0/function/name", 3), None, None, "tools[0].function.name"),
        (changed("0/function/code", ""), None, None, "tools[0].function"),
        (changed("0/function/description", 3), None, None, "tools[0].function.description"),
        (changed("0/function/description", "x" * 65_536), None, None, "tools"),
        (changed("0/function/strict", True), None, None, "tools[0].function.strict"),
        (changed("0/function/parameters", []), None, None, "tools[0].function.parameters"),
        (changed("0/function/parameters", {"type": "string"}), None, None,
         "tools[0].function.parameters"),
        (changed("0/function/parameters", deep(17)), None, None,
         "tools[0].function.parameters" + ".properties.a" * 16),
        (changed("0/function/parameters/properties", []), None, None,
         "tools[0].function.parameters.properties"),
        (changed("0/function/parameters/properties/city", 3), None, None,
         "tools[0].function.parameters.properties.city"),
        (changed("0/function/parameters/properties/city/type", "text"), None, None,
         "tools[0].function.parameters.properties.city.type"),
        (changed("0/function/parameters/properties/city/enum", "a"), None, None,
         "tools[0].function.parameters.properties.city.enum"),
        (changed("0/function/parameters/properties/city/anyOf", [3]), None, None,
         "tools[0].function.parameters.properties.city.anyOf[0]"),
        (changed("0/function/parameters/required", "city"), None, None,
         "tools[0].function.parameters.required"),
        ([WEATHER], "any", None, "tool_choice"),
        ([WEATHER], 3, None, "tool_choice"),
        ([], "required", None, "tool_choice"),
        ([WEATHER], {"type": "custom", "function": {"name": "get_weather"}}, None, "tool_choice"),
        ([WEATHER], {"type": "function", "function": {"name": "look"}}, None,
         "tool_choice.function.name"),
        ([WEATHER], {"type": "function", "name": "get_weather"}, None, "tool_choice"),
        ([WEATHER], None, 1, "parallel_tool_calls"),
    ],
)  # fmt: skip
def test_faults_name_their_place(tools: Any, choice: Any, parallel: Any, where: str) -> None:
    with pytest.raises(OmnijetError) as caught:
        Tools.of(tools, choice, parallel)
    assert caught.value.where == where
    assert len(str(caught.value)) < 700


def test_schemas_that_mean_something_else_here_pass() -> None:
    parameters = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": [{"type": "string"}, True], "$ref": "#/$defs/x"},
            "b": {"oneOf": [{"const": 3}, {"type": ["integer", "null"]}], "format": "date"},
        },
        "$defs": {"x": deep(3)},
        "additionalProperties": {"type": "number"},
        "x-own": [1, {}],
    }
    tools = changed("0/function/parameters", parameters)
    assert json.loads(Tools.of(tools).lines[0])["function"]["parameters"] == parameters


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ([], "tool_calls"),
        ({}, "tool_calls"),
        ([CALL] * 129, "tool_calls"),
        ([CALL, 3], "tool_calls[1]"),
        ([{**CALL, "type": "custom"}], "tool_calls[0].type"),
        ([{**CALL, "index": 0}], "tool_calls[0]"),
        ([{"id": "c"}], "tool_calls[0]"),
        ([{"function": {"name": "ping"}}], "tool_calls[0].function"),
        ([{"function": {"name": "p ng", "arguments": "{}"}}], "tool_calls[0].function.name"),
        *(
            ([{"function": {"name": "ping", "arguments": one}}], "tool_calls[0].function.arguments")
            for one in ({}, None, "", "[]", "{", '{"a": NaN}', "[" * 99, '"' + "x" * 65_536 + '"')
        ),
    ],
)
def test_unusable_calls_name_their_place(change: Any, where: str) -> None:
    with pytest.raises(OmnijetError) as caught:
        calls_of(change)
    assert caught.value.where == where
    assert len(str(caught.value)) < 700


def test_a_result_cannot_end_itself() -> None:
    assert Tools.response_text(["a <tool_call> b"])
    for marker in ("<tool_response>", "</tool_response>"):
        with pytest.raises(OmnijetError, match="spells out a marker") as caught:
            Tools.response_text(["fine", f"so{marker}"])
        assert caught.value.where == "tool result 2"
