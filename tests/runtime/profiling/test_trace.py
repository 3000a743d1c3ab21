"""Traces are read back as they were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.profiling import trace
from omnijet.runtime.talk.clock import Span
from tests.runtime.profiling.profiles import TRACK

_MS = st.floats(0, 1e6)
_TRACKS = st.lists(
    st.builds(
        trace.Track,
        st.text(),
        st.lists(st.builds(lambda n, b, d: Span(n, b, b + d), st.text(), _MS, _MS)).map(tuple),
        st.dictionaries(st.text(), _MS),
    )
)


@settings(deadline=None)  # the first example pays for what is slow only once
@given(_TRACKS)
@example([trace.Track("a name", (), {"process_name": 0.0})])
def test_a_trace_comes_back(tracks: list[trace.Track]) -> None:
    back = trace.read(trace.write(tracks), "memory")
    assert [(t.name, list(t.marks), [s.stage for s in t.spans]) for t in back] == [
        (t.name, list(t.marks), [s.stage for s in t.spans]) for t in tracks
    ]
    for ours, theirs in zip(tracks, back, strict=True):
        for a, b in zip(ours.spans, theirs.spans, strict=True):
            assert b[1:] == pytest.approx(a[1:], abs=2e-6)
        assert theirs.marks == pytest.approx(ours.marks, abs=2e-6)


def test_events_are_those_that_perfetto_reads() -> None:
    """Times are in microseconds; events are complete events, instants and names."""
    events = json.loads(trace.write([TRACK]))["traceEvents"]
    dit = next(e for e in events if e["name"] == "dit")
    assert (dit["ph"], dit["ts"], dit["dur"]) == ("X", 40_000.0, 40_000.0)
    pcm = next(e for e in events if e["name"] == "first_pcm")
    assert (pcm["ph"], pcm["ts"]) == ("i", 100_000.0)
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert threads[dit["tid"]] == "dit" and len(threads) == 6


@pytest.mark.parametrize("text", ["", "[]", '{"traceEvents": []}'])
def test_a_foreign_trace_is_refused(text: str) -> None:
    with pytest.raises(OmnijetError, match="not a trace"):
        trace.read(text, "x.json")
