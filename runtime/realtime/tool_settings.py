"""Tools as the realtime API writes them: without the object around a function."""

from __future__ import annotations

from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.tools import Tools
from omnijet.runtime.realtime.fault import Fault, shown, told
from omnijet.runtime.realtime.fields import Fields


def tools_of(tools: Any, choice: Any, parallel: Any, fields: Fields) -> Tools:
    """Checks `tools`, `tool_choice` and `parallel_tool_calls`.

    Args:
        fields: where they stand.

    Raises:
        Fault: one is unusable.
    """
    nested = tools
    if isinstance(tools, list):
        nested = [_nested(tool, number, fields) for number, tool in enumerate(tools)]
    if isinstance(choice, dict):
        choice = _nested_choice(choice, fields)
    try:
        return Tools.of(nested, choice, parallel)
    except OmnijetError as error:
        place = str(error.where or "tools").replace(".function", "")
        raise Fault(told(error), "invalid_value", fields.path(place)) from error


def _nested(tool: Any, number: int, fields: Fields) -> Any:
    path = fields.path(f"tools[{number}]")
    if not isinstance(tool, dict):
        return tool
    kind = tool.get("type", "function")
    if kind != "function":
        raise Fault(
            f"{path}.type {shown(kind)} is not supported: only functions are there",
            "unsupported_value", f"{path}.type",
        )  # fmt: skip
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _nested_choice(choice: dict[str, Any], fields: Fields) -> Any:
    if choice.get("type") != "function":
        path = fields.path("tool_choice.type")
        raise Fault(f"{path}: only functions are there", "unsupported_value", path)
    return {"type": "function", "function": {k: v for k, v in choice.items() if k != "type"}}
