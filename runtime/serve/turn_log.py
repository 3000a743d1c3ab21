"""One line of JSON for each turn that ended: ids, tokens, latencies, and contents if asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any, TextIO

from omnijet.runtime.assistant.record import TurnRecord
from omnijet.runtime.files.printable import json_line

MOST_LINES = 10_000  # that wait for a slow reader of the log; further ones are dropped
CONTENTS = ("prompt", "text", "prompt_ids")


class TurnLog:
    """Writes lines in a thread of its own, so that nobody waits for who reads them. Close it.

    Args:
        file: where they go.
        with_content: whether what was fed and written is in them, where a record holds it.
    """

    def __init__(self, file: TextIO, with_content: bool = False) -> None:
        self._file, self._with_content = file, with_content
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._write, name="omnijet-turn-log", daemon=True)
        self._thread.start()

    def __call__(self, record: TurnRecord) -> None:
        """Notes a turn: an observer of the assistant."""
        line = self._line(record)
        with self._changed:
            if len(self._lines) >= MOST_LINES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._changed.notify_all()

    def close(self, timeout_s: float = 2.0) -> None:
        """Writes what waits, and ends. Harmless if repeated."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _line(self, record: TurnRecord) -> str:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        facts: dict[str, Any] = {"time": now, "event": "turn"}
        for row in fields(record):
            value = getattr(record, row.name)
            if value is None or (row.name in CONTENTS and not self._with_content):
                continue
            facts[row.name] = _plain(value)
        return json_line(facts)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._is_closed)
                lines, dropped = list(self._lines), self._dropped
                self._lines.clear()
                self._dropped = 0
                if not lines and not dropped:
                    return
            if dropped:
                lines.append(json_line({"event": "dropped", "turns": dropped}))
            with suppress(OSError, ValueError):  # nobody reads it any more
                self._file.write("".join(f"{line}\n" for line in lines))
                self._file.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value
