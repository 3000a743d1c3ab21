"""How calls of tools and their results are written, as the chat template of Qwen2.5 does it.

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call>

stands in an assistant's message, and

    <tool_response>
    22 degrees
    </tool_response>

in a user's. The template published with Qwen2.5-Omni knows no tools; these are texts for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, parsed
from omnijet.runtime.prompt.objects import object_of, unusable

CALL, CALL_END = "<tool_call>", "</tool_call>"
RESPONSE, RESPONSE_END = "<tool_response>", "</tool_response>"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
MOST_CALLS = 128  # in one message
MOST_CHARACTERS = 65_536  # of the arguments of one call


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool.

    Attributes:
        arguments: JSON of an object, as it was written.
    """

    name: str
    arguments: str

    @staticmethod
    def of(value: Any, where: str) -> Call:
        """Checks a call as OpenAI's assistant messages have it.

        Args:
            value: `{"id": ..., "type": "function", "function": {"name": ..., "arguments": JSON}}`.
            where: it stands in the request, for the error.

        Raises:
            OmnijetError: it is another object, or its arguments are no JSON of an object.
        """
        whole = object_of(value, where, ("id", "type", "function"), ("function",))
        if whole.get("type", "function") != "function":
            raise unusable(f"{where}.type", '"function"', whole["type"])
        keys = ("name", "arguments")
        function = object_of(whole["function"], f"{where}.function", keys, keys)
        require_name(function["name"], f"{where}.function.name")
        call = Call(function["name"], function["arguments"])
        call.as_written(f"{where}.function.arguments")
        return call

    def as_written(self, where: str = "arguments") -> str:
        """Returns the call with its markers, as the template writes it.

        Raises:
            OmnijetError: the arguments are no JSON of an object.
        """
        wanted = f"JSON of an object, at most {MOST_CHARACTERS:,} characters"
        if not isinstance(self.arguments, str) or len(self.arguments) > MOST_CHARACTERS:
            raise unusable(where, wanted, self.arguments)
        try:
            values = parsed(self.arguments)
        except BadJson as error:
            raise unusable(where, wanted, fault=str(error)) from error
        if not isinstance(values, dict):
            raise unusable(where, wanted, self.arguments)
        written = f'{{"name": "{self.name}", "arguments": {to_json(values)}}}'
        return f"{CALL}\n{written}\n{CALL_END}"


def calls_of(values: Any, where: str = "tool_calls") -> tuple[Call, ...]:
    """Checks the calls of an assistant's message, see `Call.of`.

    Raises:
        OmnijetError: there is no list of 1 to 128 calls.
    """
    if not isinstance(values, list | tuple) or not 0 < len(values) <= MOST_CALLS:
        raise unusable(where, f"a list of 1 to {MOST_CALLS} calls", values)
    return tuple(Call.of(value, f"{where}[{number}]") for number, value in enumerate(values))


def assistant_text(content: str | None, calls: Sequence[Call]) -> str:
    """Returns the text of an assistant's message that calls tools.

    Args:
        content: what was said before the calls; None or "" if nothing was.

    Raises:
        OmnijetError: the arguments of a call are no JSON of an object.
    """
    lines = [call.as_written() for call in calls]
    return "\n".join([content, *lines] if content else lines)


def response_text(results: Sequence[str]) -> str:
    """Returns the text of the user's message that holds results which follow each other.

    Raises:
        OmnijetError: a result spells out a marker of results: what it says after that would not
            be taken for its own.
    """
    for number, result in enumerate(results):
        for marker in (RESPONSE, RESPONSE_END):
            if marker in result:
                raise OmnijetError(
                    "a tool's result spells out a marker of results",
                    where=f"tool result {number + 1}",
                    got=marker,
                    fix="take it out of the result, or write it otherwise",
                )
    return "\n".join(f"{RESPONSE}\n{result}\n{RESPONSE_END}" for result in results)


def require_name(value: Any, where: str) -> None:
    """Raises `OmnijetError` unless a value can be the name of a function."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise unusable(where, "1 to 64 letters of A-Z a-z 0-9 _ -", value)


def to_json(value: Any) -> str:
    """Returns JSON as transformers' templates write it: one line, characters as they are."""
    return json.dumps(value, ensure_ascii=False)
