"""The parts of both sizes, in the order of the table; each is imported when it is measured."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tools.bench.parts.setting import Setting
from tools.bench.row import Row

_HERE = "tools.bench.parts"
PARTS: dict[str, dict[str, str]] = {
    "middle": {
        "embedded": f"{_HERE}.replies:embedded",
        "reply": f"{_HERE}.replies:middle",
        "decode": f"{_HERE}.decoders:decode",
        "prefill": f"{_HERE}.decoders:prefill",
        "talker": f"{_HERE}.decoders:talker",
        "sound": f"{_HERE}.sound:sound",
        "encoders": f"{_HERE}.encoders:encoders",
        "lookup": f"{_HERE}.lookup:lookup",
        "load": f"{_HERE}.opening:opening",
        "memory": f"{_HERE}.memory:memory",
    },
    "full": {
        "decode": f"{_HERE}.decoders:decode",
        "alone": f"{_HERE}.alone:alone",
        "prefill": f"{_HERE}.decoders:prefill",
        "talker": f"{_HERE}.decoders:talker",
        "sound": f"{_HERE}.sound:sound",
        "encoders": f"{_HERE}.encoders:encoders",
        "first-sound": f"{_HERE}.first_sound:first_sound",
        "slim": f"{_HERE}.first_sound:slim",
        "lookup": f"{_HERE}.lookup:lookup",
        "load": f"{_HERE}.opening:opening",
        "memory": f"{_HERE}.memory:memory",
    },
}
"""Size -> name -> "module:function"."""


def part_of(size: str, name: str) -> Callable[[Setting], list[Row]]:
    module, _, function = PARTS[size][name].partition(":")
    found: Callable[[Setting], list[Row]] = getattr(import_module(module), function)
    return found
