"""Tools that a model may call: OpenAI's `tools` and `tool_choice`, checked and written out.

Qwen2.5 reads the functions in the system prompt and writes calls as JSON between
`<tool_call>` and `</tool_call>` (`omnijet.runtime.prompt.tool_calls` reads them). What its chat
template writes of tools is written here to the letter, into messages that the template published
with Qwen2.5-Omni takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.objects import object_of, unusable
from omnijet.runtime.prompt.schema import require_parameters
from omnijet.runtime.prompt.tool_text import (
    CALL,
    CALL_END,
    Call,
    assistant_text,
    require_name,
    response_text,
    to_json,
)

MOST_TOOLS = 128
MOST_CHARACTERS = 65_536  # of all tools as JSON; a context holds less
DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."
"""What the template published with Qwen2.5-Omni writes where a conversation has no system prompt.
That of the text models writes another sentence."""

_ABOVE = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>"""
_BELOW = """\
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a request. Threads: any thread may use it; it never changes.

    Attributes:
        names: of the functions that may be called; none if `tool_choice` is "none".
        lines: each function as JSON, as the model reads it.
        begin: what the reply has to begin with (`Options.begin`): with "required" a call, with a
            named function a call of it, else "". The model is not held to anything after it.
        is_parallel: whether a reply may have several calls.
    """

    names: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    begin: str = ""
    is_parallel: bool = True

    @staticmethod
    def of(tools: Any, tool_choice: Any = None, parallel: Any = None) -> Tools:
        """Checks the fields `tools`, `tool_choice` and `parallel_tool_calls` of a request.

        Args:
            tools: a list of `{"type": "function", "function": {"name", "description",
                "parameters"}}`; None or an empty one: no tools. `strict` may be false only:
                nothing here holds a model to a schema.
            tool_choice: "none" (the tools are left out of the prompt), "auto" (the default),
                "required", or `{"type": "function", "function": {"name": ...}}`.
            parallel: whether several calls may be in one reply; None: they may.

        Raises:
            OmnijetError: a field is unusable; its place is `where`.
        """
        if tools is None:
            tools = []
        if not isinstance(tools, list | tuple) or len(tools) > MOST_TOOLS:
            raise unusable("tools", f"a list of at most {MOST_TOOLS} tools", tools)
        named = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
        names = tuple(name for name, _ in named)
        for number, name in enumerate(names):
            if name in names[:number]:
                raise unusable(f"tools[{number}].function.name", "a name of its own", name)
        if sum(len(line) for _, line in named) > MOST_CHARACTERS:
            raise unusable("tools", f"at most {MOST_CHARACTERS:,} characters of JSON", fault="more")
        if parallel is not None and not isinstance(parallel, bool):
            raise unusable("parallel_tool_calls", "true or false", parallel)
        choice, begin = _choice(tool_choice, names)
        if choice == "none":
            named, names = [], ()
        return Tools(names, tuple(line for _, line in named), begin, parallel is not False)

    @property
    def unspoken(self) -> tuple[str, ...]:
        """What `Options.unspoken` is to be: calls are not said aloud."""
        return (CALL,) if self.names else ()

    @property
    def stop(self) -> tuple[str, ...]:
        """What is to be added to `Options.stop`: a reply that may have one call ends with it."""
        return (CALL_END,) if self.names and not self.is_parallel else ()

    def system_text(self, system: str | None) -> str:
        """Returns the system prompt with the tools.

        Args:
            system: the conversation's own; None: what the template writes without one.
        """
        text = DEFAULT_SYSTEM_PROMPT if system is None else system
        return "\n".join([f"{text}\n\n{_ABOVE}", *self.lines, _BELOW]) if self.names else text

    @staticmethod
    def assistant_text(content: str | None, calls: Sequence[Call]) -> str:
        """Returns the text of an assistant's message that calls tools, see `tool_text`."""
        return assistant_text(content, calls)

    @staticmethod
    def response_text(results: Sequence[str]) -> str:
        """Returns the text of a user's message with tools' results, see `tool_text`."""
        return response_text(results)


def _tool(value: Any, where: str) -> tuple[str, str]:
    """Returns a tool's name, and the tool as JSON."""
    tool = object_of(value, where, ("type", "function"), ("type", "function"))
    if tool["type"] != "function":
        raise unusable(f"{where}.type", '"function"', tool["type"])
    inner = f"{where}.function"
    keys = ("name", "description", "parameters", "strict")
    function = object_of(tool["function"], inner, keys, ("name",))
    require_name(function["name"], f"{inner}.name")
    if not isinstance(function.get("description") or "", str):
        raise unusable(f"{inner}.description", "a string", function["description"])
    if function.get("strict"):
        raise OmnijetError(
            f"{inner}.strict is not supported: a model is not held to the schema",
            where=f"{inner}.strict", expected="false", got=repr(function["strict"])[:40],
            fix="leave it out, and check the arguments",
        )  # fmt: skip
    if function.get("parameters") is not None:
        require_parameters(function["parameters"], f"{inner}.parameters")
    # the order of keys is the client's, as in the template
    plain = {key: item for key, item in function.items() if key != "strict" and item is not None}
    line = to_json({key: plain if key == "function" else tool[key] for key in tool})
    return str(function["name"]), line


def _choice(value: Any, names: tuple[str, ...]) -> tuple[Literal["none", "auto"], str]:
    """Returns whether tools may be called, and what a reply must begin with."""
    where = "tool_choice"
    if value is None or value == "auto":
        return "auto", ""
    if value == "none":
        return "none", ""
    if value == "required" and names:
        return "auto", f'{CALL}\n{{"name": "'
    if isinstance(value, dict):
        choice = object_of(value, where, ("type", "function"), ("type", "function"))
        if choice["type"] == "function":
            function = object_of(choice["function"], f"{where}.function", ("name",), ("name",))
            if function["name"] in names:
                return "auto", f'{CALL}\n{{"name": "{function["name"]}", "arguments":'
            raise unusable(f"{where}.function.name", "the name of a tool", function["name"])
    expected = '"none", "auto", "required" (with tools) or {"type": "function", "function": {...}}'
    raise unusable(where, expected, value)
