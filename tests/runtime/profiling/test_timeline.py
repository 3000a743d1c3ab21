"""The timeline draws lanes, marks and labels of a run."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from omnijet.runtime.profiling.timeline import merged, timeline
from omnijet.runtime.talk.clock import Span
from tests.runtime.profiling.profiles import TRACK


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter("text")]


def test_each_part_has_a_lane_and_what_came_first_a_mark() -> None:
    shown = texts(timeline(TRACK))
    assert [lane for lane in ("host", "Thinker", "Talker", "DiT", "vocoder") if lane in shown] == [
        "host", "Thinker", "Talker", "DiT", "vocoder",
    ]  # fmt: skip
    assert "encoders" not in shown  # nothing was seen or heard
    assert "first PCM 100 ms" in shown and "first text 21.0 ms" in shown


def test_a_stage_that_no_lane_knows_is_drawn_too() -> None:
    strange = replace(TRACK, spans=(*TRACK.spans, Span("<new>", 1, 2)))
    assert "<new>" in texts(timeline(strange))


def test_what_would_touch_on_the_screen_is_one() -> None:
    track = replace(TRACK, spans=(Span("dit", 0, 1), Span("dit", 1.1, 2), Span("dit", 5, 6)))
    assert merged(track, "dit", 0.5) == [(0, 2), (5, 6)]
    assert len(merged(track, "dit", 0.05)) == 3


def test_labels_of_near_marks_lie_in_different_rows() -> None:
    near = replace(TRACK, marks={"first_text": 50.0, "first_code": 50.1, "first_pcm": 50.2})
    root = ElementTree.fromstring(timeline(near))
    rows = [n.get("y") for n in root.iter("text") if (n.text or "").startswith("first")]
    assert len(set(rows)) == 3


def test_an_empty_run_is_drawn() -> None:
    assert texts(timeline(replace(TRACK, spans=(), marks={})))
