"""Each turn leaves one line of JSON, which no terminal takes for more than text."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from omnijet.runtime.assistant.record import TurnRecord
from omnijet.runtime.files.printable import printable
from omnijet.runtime.serve import turn_log
from omnijet.runtime.serve.turn_log import TurnLog

ODD = "\x1b[2J\x7f\x9b\u202e\nnext \ud800 🦊"
TURN = TurnRecord(
    "realtime", "sess_1", "turn_1", queued_ms=1.23456, latency_ms={"first_pcm": 100.0},
    prompt_tokens=7, finish_reason="stop", prompt="<|im_start|>secret", text="four",
    prompt_ids=(1, 2),
)  # fmt: skip


def logged(*records: TurnRecord, with_content: bool = False) -> list[dict[str, Any]]:
    file = io.StringIO()
    log = TurnLog(file, with_content)
    for record in records:
        log(record)
    log.close()
    text = file.getvalue()
    assert text.endswith("\n") and printable(text) == text and text.isascii()
    return [json.loads(line) for line in text.splitlines()]


def test_a_turn_is_one_line_without_its_contents() -> None:
    one, other = logged(TURN, replace(TURN, turn="turn_2", error=ODD))
    assert one["session"] == "sess_1" and one["turn"] == "turn_1" and one["kind"] == "realtime"
    assert one["queued_ms"] == 1.235 and one["latency_ms"] == {"first_pcm": 100.0}
    assert one["prompt_tokens"] == 7 and one["finish_reason"] == "stop"
    assert "error" not in one and other["error"] == ODD
    assert not {"prompt", "text", "prompt_ids"} & (set(one) | set(other))
    assert "secret" not in str(one)


def test_contents_are_there_if_asked_for() -> None:
    (line,) = logged(replace(TURN, text=ODD), with_content=True)
    assert (line["prompt"], line["text"]) == ("<|im_start|>secret", ODD)
    assert line["prompt_ids"] == [1, 2]
    (line,) = logged(replace(TURN, text=None), with_content=True)
    assert "text" not in line


def test_lines_of_several_threads_stay_whole() -> None:
    file = io.StringIO()
    log = TurnLog(file)

    def talk(name: str) -> None:
        for number in range(50):
            log(replace(TURN, session=name, turn=str(number)))

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = [json.loads(line) for line in file.getvalue().splitlines()]
    for name in "abcd":
        assert [one["turn"] for one in found if one["session"] == name] == [*map(str, range(50))]


def test_nobody_waits_for_a_reader_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_log, "MOST_LINES", 5)
    writing, read = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            writing.set()
            assert read.wait(20)
            return super().write(text)

    file = Stuck()
    log = TurnLog(file)
    log(TURN)
    assert writing.wait(20)
    for _ in range(12):
        log(TURN)
    read.set()
    log.close(20)
    found = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [one["event"] for one in found] == ["turn"] * 6 + ["dropped"]
    assert found[-1]["turns"] == 7


def test_a_log_that_nobody_reads_any_more_harms_nobody() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = TurnLog(Broken())
    log(TURN)
    log.close()
    log.close()
