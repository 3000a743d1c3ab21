"""A scheme as a table of TOML: which keys it has, and what they may say together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast, get_args

from omnijet.quantization.recipes import Form
from omnijet.quantization.schemes import (
    ActivationScheme,
    EightBits,
    Ranging,
    Scheme,
    WeightDtype,
    WeightScheme,
)

BLOCK = 64
BLOCKS = (32, 64, 128)


@dataclass(frozen=True, slots=True)
class Key:
    """What a key may hold.

    Attributes:
        said: the values in words.
        choices: the texts that are allowed, for hints.
    """

    said: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def fault(self, place: str, value: Any) -> str | None:
        """Returns what is wrong with a value, in words."""
        if self.holds(value):
            return None
        hint = near(value, self.choices) if isinstance(value, str) else ""
        return f"{place}: expected {self.said}, got {repr(value)[:60]}{hint}"


def one_of(*choices: str) -> Key:
    return Key(" or ".join(choices), lambda value: value in choices, choices)


SWITCH = Key("true or false", lambda value: isinstance(value, bool))
KEYS: Mapping[str, Key] = {
    "weights": one_of(*get_args(WeightDtype)),
    "block": Key(
        f"{', '.join(map(str, BLOCKS))}, or 0 for one scale of each output feature",
        lambda value: type(value) is int and value in (0, *BLOCKS),
    ),
    "zero_points": SWITCH,
    "awq": SWITCH,
    "gptq": SWITCH,
    "activations": one_of(*get_args(EightBits)),
    "ranging": one_of(*get_args(Ranging)),
    "smoothquant": Key(
        "a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1
    ),
}
OF_ACTIVATIONS = ("ranging", "smoothquant")
OF_BLOCKS = ("zero_points", "awq", "gptq")


def near(word: str, known: tuple[str, ...] | list[str]) -> str:
    """Returns a hint at the word that was meant; empty if none is near."""
    found = get_close_matches(word, known, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def read_scheme(place: str, table: Any, form: Form, faults: list[str]) -> Scheme | None:
    """Returns the scheme of a table; None if it has faults, which are added to the others."""
    if not isinstance(table, dict):
        faults.append(f"{place}: expected a table, got {repr(table)[:60]}")
        return None
    found = list(_value_faults(place, table)) or list(_contradictions(place, table, form))
    faults += found
    return None if found else _made(table)


def _value_faults(place: str, table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if key not in KEYS:
            yield f"{place}: unknown key {key[:60]!r}{near(key, list(KEYS))}"
        elif fault := KEYS[key].fault(f"{place}.{key}", value):
            yield fault
    if "weights" not in table:
        yield f"{place}.weights: missing; expected {KEYS['weights'].said}"


def _contradictions(place: str, table: Mapping[str, Any], form: Form) -> Iterator[str]:
    """Yields what values that are right by themselves cannot say together."""
    weights, rounded, block = table["weights"], table.get("activations"), _block(table)
    if rounded is None:
        for key in OF_ACTIVATIONS:
            if key in table:
                yield f"{place}.{key}: says how activations are rounded; `activations` is missing"
    elif rounded != weights:
        yield (
            f"{place}.activations: {rounded} activations are multiplied with {rounded} weights, "
            f"not with {weights}"
        )
    elif block:
        yield f"{place}.block: products of two rounded numbers take one scale for each output"
    if weights == "int4" and rounded is None and not block:
        yield f"{place}.block: int4 weights need blocks of {', '.join(map(str, BLOCKS))}"
    if weights == "fp8" and block:
        yield f"{place}.block: fp8 weights have no blocks"
    if not block:
        for key in OF_BLOCKS:
            if table.get(key):
                yield f"{place}.{key}: needs blocks"
    if table.get("zero_points") and form != "cpu":
        yield f'{place}.zero_points: are for form = "cpu" alone; TensorRT refuses them'
    if weights == "fp8" and form == "cpu":
        yield f'{place}.weights: form = "cpu" has no products of fp8'


def _block(table: Mapping[str, Any]) -> int:
    """Returns the block of a table, or 0."""
    usual = 0 if table["weights"] == "fp8" or "activations" in table else BLOCK
    return cast(int, table.get("block", usual))


def _made(table: Mapping[str, Any]) -> Scheme:
    weights = WeightScheme(
        table["weights"], cast(Any, _block(table) or None), not table.get("zero_points", False),
        table.get("awq", False), table.get("gptq", False),
    )  # fmt: skip
    if "activations" not in table:
        return Scheme(weights)
    migration = table.get("smoothquant")
    return Scheme(
        weights,
        ActivationScheme(
            table["activations"], table.get("ranging", "max"),
            None if migration is None else float(migration),
        ),
    )  # fmt: skip


def scheme_table(scheme: Scheme) -> dict[str, str | int | float | bool]:
    """Inverts `read_scheme`; says nothing that goes without saying."""
    weights, rounded = scheme.weights, scheme.activations
    table: dict[str, str | int | float | bool] = {"weights": weights.dtype}
    if rounded is not None:
        table["activations"] = rounded.dtype
    if (block := weights.block or 0) != _block(table) or block:
        table["block"] = block
    for key, on in (("zero_points", not weights.symmetric), ("awq", weights.scaling),
                    ("gptq", weights.compensated)):  # fmt: skip
        if on:
            table[key] = True
    if rounded is not None:
        table["ranging"] = rounded.ranging
        if rounded.migration is not None:
            table["smoothquant"] = rounded.migration
    return table
