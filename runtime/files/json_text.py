"""Reads JSON from strangers: no deeper, longer or odder than this project's own files are.

Python's parser alone takes `NaN`, keys that stand twice (the last one counts), numbers that no
f64 holds, and nesting that ends other code's recursion; and it makes a gigabyte of objects out of
a few megabytes.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from omnijet.runtime.files.bounded import BadFile, read_bounded, utf8

MOST_BYTES = 16 << 20
MOST_DEPTH = 64
MOST_VALUES = 800_000  # in one text; the model's tokenizer.json has 600,000
MOST_DIGITS = 40  # of an integer; Python's own limit differs by version
MOST_FLOAT_DIGITS = 400  # the longest f64 that is written out has 325
_BLOCK = 1 << 20
_DIGITS_AS_ZERO = bytes(ord("0") if code in b"0123456789" else 0 for code in range(256))
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class BadJson(BadFile):
    """Text that is no JSON within the bounds; its message is one phrase for `got`."""


def parsed(text: bytes | str, most_depth: int = MOST_DEPTH) -> Any:
    """Parses JSON text.

    Raises:
        BadJson: it is no JSON, is nested deeper than `most_depth`, has more than `MOST_VALUES`
            values, holds `NaN`, `Infinity`, a number that no f64 holds or an integer of more than
            40 digits, an object with one key twice, or characters that no UTF-8 holds.
    """
    try:
        content = text.encode("utf-8") if isinstance(text, str) else text
        string = utf8(content)
    except UnicodeEncodeError as error:
        raise BadJson(f"a lone surrogate at character {error.start}") from error
    except BadFile as error:
        raise BadJson(str(error)) from error
    _check_size(content, most_depth)
    decoder = _LONG if b"0" * (MOST_DIGITS + 1) in content.translate(_DIGITS_AS_ZERO) else _SHORT
    try:
        value = decoder.decode(string)
        # written backslashes are not the escape's; few texts reach the second search
        if _SURROGATE.search(string) and _SURROGATE.search(string.replace(r"\\", "")):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadJson("an escaped lone surrogate, which is no character") from error
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, BadJson) else BadJson(str(error)) from error
    return value


def read_json(path: Path, most_bytes: int = MOST_BYTES, most_depth: int = MOST_DEPTH) -> Any:
    """Reads a JSON file.

    Raises:
        OSError: the file cannot be read.
        BadJson: it is larger than `most_bytes`, no regular file, or what `parsed` refuses.
    """
    try:
        content = read_bounded(path, most_bytes)
    except BadFile as error:
        raise BadJson(str(error)) from error
    return parsed(content, most_depth)


def _check_size(content: bytes, most_depth: int) -> None:
    """Raises `BadJson` if the text has too many values or is nested too deep."""
    opened = content.count(b"[") + content.count(b"{")
    values = opened + content.count(b",")
    if values > MOST_VALUES:
        raise BadJson(f"{values:,} values, more than {MOST_VALUES:,}")
    allowed = most_depth
    if opened <= allowed:
        return
    # each pass takes the innermost pairs away, so what is left is one level less deep
    brackets = _outside_strings(content)
    for level in range(most_depth):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):  # unbalanced, which the parser tells better
            most_depth -= level
            break
        brackets = inner
    else:
        most_depth = 0
    if brackets.count(b"[") > most_depth:
        raise BadJson(f"nesting deeper than {allowed}")


def _outside_strings(content: bytes) -> bytes:
    """Returns the brackets that are in no string, all of them as square ones."""
    if b"\\" in content:
        content = content.replace(rb"\\", b"__").replace(rb"\"", b"__")
    found = []
    inside = 0
    for start in range(0, len(content), _BLOCK):
        pieces = content[start : start + _BLOCK].split(b'"')
        found.append(b"".join(pieces[inside::2]).translate(_SQUARE, _NO_BRACKETS))
        inside ^= (len(pieces) - 1) & 1
    return b"".join(found)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise BadJson(f"the key {key[:80]!r} twice in one object")
        seen.add(key)
    raise AssertionError(pairs)


def _float(text: str) -> float:
    if len(text) > MOST_FLOAT_DIGITS:
        raise BadJson(f"a number of {len(text):,} digits")
    value = float(text)
    if math.isinf(value):
        raise BadJson(f"{text[:40]}, which is larger than any number here")
    return value


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise BadJson(f"an integer of {len(text):,} digits")
    return int(text)


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name}, which is no number of JSON")


# the parser calls Python for every integer of `_LONG`, which is slow for a vocabulary
_SHORT = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_LONG = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_constant
)
