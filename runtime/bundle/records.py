"""Builds frozen dataclasses from parsed JSON and checks every type and range."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from omnijet.runtime.bundle.ranges import MOST_ITEMS

SHOWN = 20  # faults
_BROKEN = object()


def build(kind: Any, data: Any, where: str = "", *, closed: bool = False) -> Any:
    """Builds a value of type `kind`: a dataclass, a tuple, `dict[str, X]`, `X | None`, a
    `Literal`, int, float, str or Any. `Annotated[X, rule]` asks `rule.holds(value)`, too. A field
    may be missing if its class has a plain default for it.

    Args:
        kind: The type.
        data: Parsed JSON.
        where: The place of `data`, for messages.
        closed: Whether keys that no field has are faults.

    Raises:
        ValueError: names every place that is missing, unknown, or of another type or range.
    """
    reader = _Reader(closed)
    value = reader.value(kind, data, where)
    if faults := reader.faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise ValueError("\n            ".join([*faults[:SHOWN], *more]))
    return value


class _Reader:
    """Builds values and notes what is wrong with them."""

    def __init__(self, closed: bool) -> None:
        self.closed = closed
        self.faults: list[str] = []

    def value(self, kind: Any, data: Any, where: str) -> Any:
        origin = get_origin(kind)
        if kind is Any:
            return data
        if origin is Annotated:
            return self._ruled(kind, data, where)
        if origin in (types.UnionType, Union):
            return None if data is None else self.value(get_args(kind)[0], data, where)
        if is_dataclass(kind):
            return self._record(kind, data, where)
        if origin is tuple:
            return self._tuple(get_args(kind), data, where)
        if origin is dict:
            return self._mapping(get_args(kind), data, where)
        if origin is Literal:
            allowed = get_args(kind)
            # a list or an object cannot be looked up, and True is no 1
            known = any(data == one and type(data) is type(one) for one in allowed)
            return data if known else self._fault(where, " or ".join(map(repr, allowed)), data)
        return self._plain(kind, data, where)

    def _ruled(self, kind: Any, data: Any, where: str) -> Any:
        inner, *rules = get_args(kind)
        value = self.value(inner, data, where)
        for rule in rules:
            if value is not _BROKEN and not rule.holds(value):
                return self._fault(where, str(rule), data)
        return value

    def _record(self, kind: Any, data: Any, where: str) -> Any:
        if not isinstance(data, Mapping):
            return self._fault(where, "an object", data)
        values: dict[str, Any] = {}
        hints = _hints(kind)
        for field in fields(kind):
            place = _join(where, field.name)
            if field.name in data:
                values[field.name] = self.value(hints[field.name], data[field.name], place)
            elif field.default is MISSING:
                self.faults.append(f"{place}: missing")
                values[field.name] = _BROKEN
        if self.closed:
            unknown = [_join(where, str(key)[:60]) for key in data if key not in hints]
            self.faults += [f"{place}: unknown" for place in unknown]
        return _BROKEN if any(v is _BROKEN for v in values.values()) else kind(**values)

    def _tuple(self, kinds: tuple[Any, ...], data: Any, where: str) -> Any:
        if not isinstance(data, list | tuple):
            return self._fault(where, "a list", data)
        if kinds[-1] is ...:
            kinds = (kinds[0],) * len(data)
        if len(data) != len(kinds) or len(data) > MOST_ITEMS:
            return self._fault(where, f"{min(len(kinds), MOST_ITEMS)} items", data)
        made = [
            self.value(kind, item, f"{where}[{i}]")
            for i, (kind, item) in enumerate(zip(kinds, data, strict=True))
        ]
        return _BROKEN if any(item is _BROKEN for item in made) else tuple(made)

    def _mapping(self, kinds: tuple[Any, ...], data: Any, where: str) -> Any:
        if not isinstance(data, Mapping):
            return self._fault(where, "an object", data)
        if len(data) > MOST_ITEMS:
            return self._fault(where, f"at most {MOST_ITEMS} entries", len(data))
        made = {
            self.value(kinds[0], key, f"{where}: the name"): self.value(
                kinds[1], item, _join(where, str(key)[:60])
            )
            for key, item in data.items()
        }
        return _BROKEN if any(_BROKEN in pair for pair in made.items()) else made

    def _plain(self, kind: Any, data: Any, where: str) -> Any:
        number = isinstance(data, int | float) and not isinstance(data, bool)
        fits = number and (kind is float or isinstance(data, int)) if kind in (int, float) else (
            isinstance(data, kind)
        )  # fmt: skip
        if not fits:
            return self._fault(where, f"of type {kind.__name__}", data)
        try:
            return kind(data)
        except OverflowError:
            return self._fault(where, "a number that an f64 holds", data)

    def _fault(self, where: str, expected: str, got: Any) -> Any:
        self.faults.append(f"{where or 'the top'}: expected {expected}, got {repr(got)[:60]}")
        return _BROKEN


@lru_cache(maxsize=256)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
