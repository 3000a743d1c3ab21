from __future__ import annotations

import contextlib
import json
import os
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from omnijet.runtime.files.bounded import BadFile, read_bounded, read_bounded_text
from omnijet.runtime.files.json_text import MOST_BYTES, MOST_DEPTH, BadJson, parsed, read_json

GOOD = (
    "null",
    " 7\n",
    '{"a": [1, -2.5e3, true, "x"], "": {"a": 1}, "b": {"a": 2}}',
    '["\\ud83d\\ude00", "\\\\ud800", "\\u0000", "\\\\\\\\ud800"]',
    "9" * 40,
    "1e308",
    "0." + "1" * 300,
    json.dumps(["9" * 5000, "[" * 200, '"' * 3, '\\"' * 5 + "{" * 100, "\\"]),
    "[" * MOST_DEPTH + "]" * MOST_DEPTH,
    '{"a":' * MOST_DEPTH + "1" + "}" * MOST_DEPTH,
    "[" + "[[]]," * 100 + "[]]",
)
BAD = {
    "": "Expecting value",
    "{": "Expecting",
    "{} {}": "Extra data",
    "NaN": "NaN",
    '{"a": [Infinity]}': "Infinity",
    "-Infinity": "-Infinity",
    "1e999": "1e999",
    "-1e400": "-1e400",
    "9" * 41: "41 digits",
    "-" + "9" * 5000: "5,001 digits",
    "0." + "1" * 500: "502 digits",
    '{"a": 1, "a": 1}': "'a' twice",
    '{"b": [{"a": 1, "c": 3, "a": 2}]}': "'a' twice",
    '"\\ud800"': "surrogate",
    '{"\\\\\\udfff": 1}': "surrogate",
    '"\ud800"': "surrogate",
    "\ufeff{}": "byte order mark",
    '["\\"]': "Unterminated",
    "[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1): "nesting deeper than 64",
    "[" * 100_000: "nesting",
    "[" * 40 + '{"]]]]]]]]]]]]]]]":' * 40 + "1" + "}" * 40 + "]" * 40: "nesting",
    "[" + "[0]," * 100 + "0": "delimiter",
    "[" + "[]," * 1_000_000 + "[]]": "values",
}


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_takes_what_json_is(text: str) -> None:
    assert parsed(text) == json.loads(text) == parsed(text.encode())


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_refuses_what_it_is_not(text: str) -> None:
    with pytest.raises(BadJson, match=BAD[text]) as caught:
        parsed(text)
    assert len(str(caught.value)) < 200
    if text.isascii():
        with pytest.raises(BadJson):
            parsed(text.encode())


@pytest.mark.parametrize("content", [b'"\xff"', '{"a": 1}'.encode("utf-16"), b'"\xed\xa0\x80"'])
def test_refuses_what_is_no_utf8(content: bytes) -> None:
    with pytest.raises(BadJson, match="UTF-8"):
        parsed(content)


def test_takes_every_object_that_python_writes() -> None:
    rng = random.Random(5)

    def made(depth: int) -> Any:
        kind = rng.randrange(8 if depth else 6)
        if kind == 6:
            return [made(depth - 1) for _ in range(rng.randrange(6))]
        if kind == 7:
            return {f'{n}"[\\{{': made(depth - 1) for n in range(rng.randrange(6))}
        return (None, True, rng.random(), rng.getrandbits(90), '"]}\\ud\\', "ä😀")[kind]

    for number in range(200):
        value = [made(20) for _ in range(30)]
        text = json.dumps(value, ensure_ascii=number % 2 == 0)
        assert parsed(text) == value


BOMBS = {
    "objects": "[" + "{}," * 300_000 + "0]",
    "keys": "[" + '{"a":1},' * 300_000 + "0]",
    "numbers": "[" + "123456789," * 900_000 + "0]",
    "floats": "[" + "1.5," * 900_000 + "0]",
    "texts": "[" + '"ab",' * 900_000 + "0]",
    "one object": "{" + ",".join(f'"k{n}":{n}' for n in range(900_000)) + "}",
    "openers": "[" * 900_000,
    "closers": "]" * MOST_BYTES,
    "pairs": "[" * 400_000 + "]" * 400_000,
    "quotes": '"' * MOST_BYTES,
    "backslashes": '"' + "\\" * (MOST_BYTES - 2) + '"',
    "surrogates": '"' + "\\ud800" * 2_000_000 + '"',
    "wide": '"' + "a" * (MOST_BYTES - 10) + "😀" + '"',
    "digits": "9" * MOST_BYTES,
    "fraction": "0." + "9" * (MOST_BYTES - 2),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_much_memory_or_time(name: str) -> None:
    content = BOMBS[name].encode()
    tracemalloc.start()
    began = time.process_time()
    with contextlib.suppress(BadJson):
        parsed(content)
    took = time.process_time() - began  # tracing makes it five times slower
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 10
    assert peak < 200e6


def test_reads_a_file_and_one_that_a_link_leads_to(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": "ä"}', encoding="utf-8")
    (tmp_path / "link").symlink_to(path)
    assert read_json(path) == read_json(tmp_path / "link") == {"a": "ä"}
    assert read_bounded_text(path, 100) == '{"a": "ä"}'
    assert isinstance(read_bounded(Path("/proc/self/status"), 1 << 20), bytes)  # its size is 0


def test_refuses_a_file_before_it_is_read(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.json"
    with open(sparse, "wb") as file:
        file.truncate(1 << 40)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for place, what in {
        sparse: "bytes, more than",
        pipe: "named pipe",
        tmp_path / "zero.json": "a device",
    }.items():
        with pytest.raises(BadJson, match=what):
            read_json(place)
    with pytest.raises(BadFile, match="folder"):
        read_bounded(tmp_path, 10)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(BadFile, match="more than 10 bytes"):  # its size is told as 0
        read_bounded(Path("/proc/self/status"), 10)
