"""The JSON schema of a tool's parameters, checked as far as a prompt needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnijet.runtime.prompt.objects import unusable

MOST_DEPTH = 16
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains",
            "propertyNames")  # fmt: skip
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_OBJECTS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def require_parameters(value: Any, where: str) -> None:
    """Checks that a value is the schema of an object.

    The model reads the schema as text, so keywords without a meaning here pass.

    Raises:
        OmnijetError: it is no object's, is nested deeper than 16, or a keyword has a value of a
            kind that it cannot have.
    """
    if not isinstance(value, Mapping) or value.get("type", "object") != "object":
        raise unusable(where, 'a JSON schema of type "object"', value)
    _require_schema(value, where, MOST_DEPTH)


def _require_schema(value: Any, where: str, depth: int) -> None:
    if isinstance(value, bool):
        return
    if not isinstance(value, Mapping):
        raise unusable(where, "a JSON schema", value)
    if not depth:
        raise unusable(where, f"a schema of at most {MOST_DEPTH} levels", fault="more levels")
    _require_type(value, where)
    for key, expected, is_usable in (
        ("required", "a list of names", _are_strings),
        ("enum", "a list of values", lambda item: isinstance(item, list)),
        ("description", "a string", lambda item: isinstance(item, str)),
        ("title", "a string", lambda item: isinstance(item, str)),
    ):
        if key in value and not is_usable(value[key]):
            raise unusable(f"{where}.{key}", expected, value[key])
    for key in _SCHEMAS:
        if key in value and not (key == "items" and isinstance(value[key], list)):
            _require_schema(value[key], f"{where}.{key}", depth - 1)
    for key in (*_LISTS, *("items",) * isinstance(value.get("items"), list)):
        if key in value:
            if not isinstance(value[key], list):
                raise unusable(f"{where}.{key}", "a list of JSON schemas", value[key])
            for number, item in enumerate(value[key]):
                _require_schema(item, f"{where}.{key}[{number}]", depth - 1)
    for key in _OBJECTS:
        if key in value:
            if not isinstance(value[key], Mapping):
                raise unusable(f"{where}.{key}", "an object of JSON schemas", value[key])
            for name, item in value[key].items():
                _require_schema(item, f"{where}.{key}.{name}", depth - 1)


def _require_type(value: Mapping[str, Any], where: str) -> None:
    if "type" in value:
        types = value["type"] if isinstance(value["type"], list) else [value["type"]]
        if not types or not all(isinstance(one, str) and one in TYPES for one in types):
            raise unusable(f"{where}.type", f"one of {', '.join(TYPES)}", value["type"])


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
