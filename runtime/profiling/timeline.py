"""Draws one run on a time axis: a lane per part of the model, and marks for first outputs."""

from __future__ import annotations

from collections.abc import Sequence

from omnijet.runtime.profiling.svg import (
    across,
    axis,
    bar,
    colour,
    picture,
    short,
    stroke,
    text_width,
    words,
)
from omnijet.runtime.profiling.trace import Track

WIDTH, LEFT, RIGHT = 1100, 78, 14  # pixels; LEFT is for names
LANE, LABEL = 24, 15  # pixels: height of a lane, and of a row of labels
MERGED = 0.6  # pixels: spans that are closer are drawn as one
LANES = (
    ("host", ("preprocess", "load")),
    ("encoders", ("vision_encoder", "audio_encoder")),
    ("Thinker", ("thinker_prefill", "thinker_decode")),
    ("Talker", ("talker_prefill", "talker_decode")),
    ("DiT", ("dit",)),
    ("vocoder", ("vocoder",)),
)
FIRST_PCM = "first_pcm"


def timeline(track: Track) -> str:
    """Returns one run as SVG."""
    end = max([*(span.end_ms for span in track.spans), *track.marks.values(), 1e-9])
    scale = (WIDTH - LEFT - RIGHT) / end
    labels = _placed([(name, LEFT + scale * ms, ms) for name, ms in track.marks.items()])
    top = 6 + LABEL * max((row + 1 for *_, row in labels), default=0)
    lanes = _lanes(track)
    bottom = top + LANE * len(lanes)
    marks = axis(end, "ms", LEFT, scale, top, bottom)
    for place, (lane, stages) in enumerate(lanes):
        y = top + LANE * place
        marks += [words(0, y + 16, lane), across(y + LANE, LEFT, WIDTH - RIGHT, "grid")]
        for stage in stages:
            for begin, stop in merged(track, stage, MERGED / scale):
                title = f"{stage}: {begin:.2f} to {stop:.2f} ms ({stop - begin:.2f} ms)"
                x, width = LEFT + scale * begin, scale * (stop - begin)
                marks.append(bar(x, y + 4, width, LANE - 8, colour(stage), title))
    for name, label, x, anchor, row in labels:
        kind = "pcm" if name == FIRST_PCM else "mark"
        y = 11 + LABEL * row
        marks += [
            stroke(x, y - 9, bottom, kind),
            words(x + (4 if anchor == "start" else -4), y, label, anchor, kind),
        ]
    return picture(WIDTH, bottom + 22, marks, f"timeline of {track.name}")


def merged(track: Track, stage: str, gap_ms: float) -> list[tuple[float, float]]:
    """Returns (begin, end) of a stage's spans; spans closer than `gap_ms` are merged."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted((s.begin_ms, s.end_ms) for s in track.spans if s.stage == stage):
        if found and begin - found[-1][1] < gap_ms:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _lanes(track: Track) -> list[tuple[str, Sequence[str]]]:
    """Returns the lanes in use; a stage that belongs to no lane gets its own."""
    there = dict.fromkeys(span.stage for span in track.spans)
    known = {stage for _, stages in LANES for stage in stages}
    lanes: list[tuple[str, Sequence[str]]] = [
        (name, stages) for name, stages in LANES if there.keys() & set(stages)
    ]
    return lanes + [(stage, (stage,)) for stage in there if stage not in known]


def _placed(
    marks: Sequence[tuple[str, float, float]],
) -> list[tuple[str, str, float, str, int]]:
    """Places the labels of marks (name, x, ms) in rows so that none covers another.

    Returns:
        (name, label, x, anchor, row) of each mark.
    """
    placed: list[tuple[str, str, float, str, int]] = []
    ends: list[list[tuple[float, float]]] = []
    for name, x, ms in sorted(marks, key=lambda mark: mark[1]):
        label = f"{name.replace('_', ' ').replace('pcm', 'PCM')} {short(ms)} ms"
        width = text_width(label) + 12
        anchor = "end" if x + width > WIDTH else "start"
        begin, end = (x - width, x) if anchor == "end" else (x, x + width)
        free = (
            row for row, taken in enumerate(ends)
            if all(end <= left or begin >= right for left, right in taken)
        )  # fmt: skip
        row = next(free, len(ends))
        if row == len(ends):
            ends.append([])
        ends[row].append((begin, end))
        placed.append((name, label, x, anchor, row))
    return placed
