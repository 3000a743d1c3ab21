"""Prints, as JSON, the real signatures of the names that the doubles imitate.

This program runs as a process of its own and imports nothing but the bindings, which may be in an
environment of their own. Names on the command line are `trt:Class.method` for TensorRT-RTX,
`classic:Class.method` for TensorRT and `cuda:function`; a value is `trt:Enum=MEMBER`.
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
    """Returns the value of a member of an enumeration, or the parameters' names of a function (of
    each overload; for CUDA also how many values the function returns); None if there is no such
    name.
    """
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
