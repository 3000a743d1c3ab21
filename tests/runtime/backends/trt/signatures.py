"""Prints, as JSON, the real signatures of what the doubles stand for.

A process of its own, with nothing but the bindings, which may be in an environment of their own.
Names on the command line: `trt:Class.method` (of TensorRT-RTX), `classic:Class.method` (of
TensorRT) and `cuda:function`, and `trt:Enum=MEMBER` and so on for values.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from typing import Any

MODULES = {
    "trt": "tensorrt_rtx_bindings",
    "classic": "tensorrt",
    "cuda": "cuda.bindings.runtime",
}


def described(module: Any, name: str) -> Any:
    """A value of an enumeration; of a function its parameters' names, of each overload, and for
    CUDA how many values it returns; None if there is no such thing."""
    path, _, member = name.partition("=")
    try:
        found = module
        for part in path.split("."):
            found = getattr(found, part)
        if member:
            return int(getattr(found, member))
    except AttributeError:
        return None
    text = inspect.getdoc(found) or ""
    if isinstance(found, int):
        return int(found)
    if isinstance(found, property):
        return "property"
    short = path.rpartition(".")[2]
    written = re.findall(rf"^(?:\d+\. )?{short}\((self.*)\) -> ", text, re.MULTILINE)
    if written:
        return [_names(one) for one in written]
    returned = text.partition("Returns\n-------\n")[2].partition("\n\n")[0]
    results = [line for line in returned.splitlines() if line and not line.startswith(" ")]
    return [list(inspect.signature(found).parameters), len(results)]


def _names(parameters: str) -> list[str]:
    return re.findall(r"(\w+): ", re.sub(r"<[^>]*>", "", parameters))[1:]


def main() -> None:
    found = {}
    for name in sys.argv[1:]:
        module, _, path = name.partition(":")
        found[name] = described(importlib.import_module(MODULES[module]), path)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
