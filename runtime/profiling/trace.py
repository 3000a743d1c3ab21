"""Writes and reads runs as a trace that Perfetto and chrome://tracing open.

Format: "Trace Event Format" of the Chromium project: complete events (`ph` X) with `ts` and
`dur` in microseconds, instants (i), and names of processes and threads (M). Each run is a
process and each stage a thread, because stages may overlap and events of a thread must nest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import parsed
from omnijet.runtime.talk.clock import Span

FORMAT, VERSION = "omnijet-trace", 1


@dataclass(frozen=True, slots=True)
class Track:
    """One run: spans and marks in milliseconds since the call."""

    name: str
    spans: tuple[Span, ...]
    marks: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    ph: Literal["X", "i", "M"]
    pid: int
    tid: int = 0
    ts: float = 0.0
    dur: float = 0.0
    args: dict[str, str] = field(default_factory=dict)


def write(tracks: Sequence[Track]) -> str:
    """Returns the trace as JSON text; times have nanosecond resolution."""
    events: list[_Event] = []
    for pid, track in enumerate(tracks, start=1):
        events.append(_Event("process_name", "M", pid, args={"name": track.name}))
        threads: dict[str, int] = {}
        for span in track.spans:
            if span.stage not in threads:
                tid = threads[span.stage] = len(threads) + 1
                events.append(_Event("thread_name", "M", pid, tid, args={"name": span.stage}))
            begin = round(1e3 * span.begin_ms, 3)
            took = max(round(1e3 * span.end_ms, 3) - begin, 0.0)
            events.append(_Event(span.stage, "X", pid, threads[span.stage], begin, round(took, 3)))
        events += [
            _Event(name, "i", pid, ts=round(1e3 * ms, 3)) for name, ms in track.marks.items()
        ]
    data = {
        "displayTimeUnit": "ms",
        "otherData": {"format": FORMAT, "version": VERSION},
        "traceEvents": [asdict(event) for event in events],
    }
    return json.dumps(data) + "\n"


def read(text: str, where: object) -> list[Track]:
    """Inverts `write`.

    Raises:
        OmnijetError: the text is no trace that `write` made.
    """
    try:
        data: Any = parsed(text)
        known = isinstance(data, dict) and data.get("otherData")
        if known != {"format": FORMAT, "version": VERSION}:
            raise ValueError(f"otherData: expected {FORMAT} version {VERSION}, got {known!r}")
        events: tuple[_Event, ...] = build(
            tuple[_Event, ...], data.get("traceEvents"), "traceEvents"
        )
    except ValueError as error:
        raise OmnijetError(
            "this is not a trace of omnijet",
            where=where,
            expected="trace.json as `omnijet profile --out` writes it",
            got=error,
            fix="measure again with `omnijet profile BUNDLE --out FOLDER`",
        ) from error
    # a stage or mark may have the same name
    named = [e for e in events if e.name == "process_name" and e.ph == "M"]
    names = {e.pid: e.args.get("name", "") for e in named}
    return [
        Track(
            name,
            tuple(
                Span(e.name, e.ts / 1e3, (e.ts + e.dur) / 1e3)
                for e in events
                if e.ph == "X" and e.pid == pid
            ),
            {e.name: e.ts / 1e3 for e in events if e.ph == "i" and e.pid == pid},
        )
        for pid, name in names.items()
    ]
