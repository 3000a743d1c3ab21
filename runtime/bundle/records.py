"""Builds frozen dataclasses from parsed JSON and checks every type."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints


def build(kind: Any, data: Any, where: str = "") -> Any:
    """Builds a value of type `kind`: a dataclass, `tuple[X, ...]`, `dict[str, X]`, `X | None`,
    a `Literal`, int, float, str or Any. A field may be missing if its class has a plain default
    for it.

    Raises:
        ValueError: names the first place that is missing or has another type.
    """
    origin = get_origin(kind)
    if kind is Any:
        return data
    if origin is types.UnionType:
        return None if data is None else build(get_args(kind)[0], data, where)
    if is_dataclass(kind):
        _require(isinstance(data, Mapping), where, "an object", data)
        hints = get_type_hints(kind)
        values = {}
        for field in fields(kind):
            if field.name not in data:
                if field.default is not MISSING:
                    continue
                raise ValueError(f"{_join(where, field.name)}: missing")
            values[field.name] = build(
                hints[field.name], data[field.name], _join(where, field.name)
            )
        return kind(**values)  # type: ignore[operator]
    if origin in (tuple, types.GenericAlias):
        _require(isinstance(data, list | tuple), where, "a list", data)
        inner = get_args(kind)[0]
        return tuple(build(inner, item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is dict:
        _require(isinstance(data, Mapping), where, "an object", data)
        inner = get_args(kind)[1]
        return {key: build(inner, item, _join(where, key)) for key, item in data.items()}
    if origin is Literal:
        _require(data in get_args(kind), where, " or ".join(map(repr, get_args(kind))), data)
        return data
    number = isinstance(data, int | float) and not isinstance(data, bool)
    fits = number and (kind is float or isinstance(data, int)) if kind in (int, float) else (
        isinstance(data, kind)
    )  # fmt: skip
    _require(fits, where, f"of type {kind.__name__}", data)
    return kind(data)


def _require(holds: bool, where: str, expected: str, got: Any) -> None:
    if not holds:
        raise ValueError(f"{where or 'the top'}: expected {expected}, got {repr(got)[:60]}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
