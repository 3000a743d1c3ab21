"""Draws the figures: how near the floor both sides come, and how much faster omnijet is."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from omnijet.runtime.profiling.style import STAGE_COLOURS
from omnijet.runtime.profiling.svg import bar, picture, short, stroke, words
from tools.bench.results import Results
from tools.bench.row import Row

WIDE, LEFT, RIGHT, LINE, TOP = 960.0, 400.0, 190.0, 24.0, 46.0
LEAST_TIMES, MOST_TIMES = 0.5, 20.0  # the scale of the second picture, which is logarithmic
OURS, THEIRS = (STAGE_COLOURS[name] for name in ("thinker_prefill", "load"))

_STYLE = (
    "<style>svg{color-scheme:light dark;background:#fff;--ink:#1c2127;--soft:#5d6772;"
    f"--rule:#d9dde2;--ours:{OURS[0]};--theirs:{THEIRS[0]}}}"
    "@media(prefers-color-scheme:dark){svg{background:#15181c;--ink:#e4e7ea;--soft:#9aa4af;"
    f"--rule:#31373e;--ours:{OURS[1]};--theirs:{THEIRS[1]}}}}}"
    "text{font:12px system-ui,sans-serif;fill:var(--ink)}text.soft{fill:var(--soft)}"
    "text.strong{font-weight:650}line.grid{stroke:var(--rule)}"
    "line.floor{stroke:var(--ink);stroke-width:1.5}</style>"
)


def plot(results: Results) -> str:
    """Returns an SVG file; empty if no figure has a floor or a peer."""
    rows = [row for part in results.parts.values() for row in part.rows]
    near = [row for row in rows if row.floor is not None]
    raced = [row for row in rows if row.floor is None and row.peers]
    marks: list[str] = []
    height = 0.0
    if near:
        marks += near_floor(near, height)
        height += TOP + LINE * len(near) + 30
    if raced:
        marks += times(raced, height)
        height += TOP + LINE * len(raced) + 30
    if not marks:
        return ""
    drawn = picture(WIDE, height, marks, "figures, floors and peers")
    head, _, body = drawn.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{head}>{_STYLE}{body}\n"


def near_floor(rows: Sequence[Row], top: float) -> list[str]:
    """Draws what share of the floor's speed each side reaches; the floor is 100 %."""
    end = max(
        1.0, *(share(row, value) for row in rows for value in (row.ours, *row.peers.values()))
    )
    scale = (WIDE - LEFT - RIGHT) / end
    bottom = top + TOP + LINE * len(rows)
    marks = [
        words(0, top + 16, "speed as a share of what memory or arithmetic allows", kind="strong"),
        words(0, top + 32, "blue: omnijet, grey: the peer in the same run", kind="soft"),
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1.0):
        x = LEFT + scale * tick
        marks += [
            stroke(x, top + TOP, bottom, "floor" if tick == 1 else "grid"),
            words(x, bottom + 16, f"{tick:.0%}", "middle", "soft"),
        ]
    for place, row in enumerate(rows):
        marks += pair(row, top + TOP + LINE * place, [
            scale * share(row, value) for value in (row.ours, *row.peers.values())
        ])  # fmt: skip
    return marks


def times(rows: Sequence[Row], top: float) -> list[str]:
    """Draws how many times as fast as its peer omnijet is, on a logarithmic scale."""
    scale = (WIDE - LEFT - RIGHT) / log10(MOST_TIMES / LEAST_TIMES)
    bottom = top + TOP + LINE * len(rows)
    marks = [words(0, top + 16, "times as fast as the peer", kind="strong")]
    for tick in (0.5, 1, 2, 5, 10, 20):
        x = LEFT + scale * log10(tick / LEAST_TIMES)
        marks += [
            stroke(x, top + TOP, bottom, "floor" if tick == 1 else "grid"),
            words(x, bottom + 16, f"{tick:g}", "middle", "soft"),
        ]
    for place, row in enumerate(rows):
        fast = min(max(min(map(row.times_as_fast, row.peers)), LEAST_TIMES), MOST_TIMES)
        marks += pair(row, top + TOP + LINE * place, [scale * log10(fast / LEAST_TIMES)])
    return marks


def pair(row: Row, y: float, lengths: Sequence[float]) -> list[str]:
    """Draws the bars of one row: ours above its peers'."""
    name = row.work.replace("`", "")
    said = f"{short(row.ours)} {row.unit}"
    if row.peers:
        said += "".join(f", {row.times_as_fast(peer):.2f} x {peer}" for peer in row.peers)
    thick = (LINE - 8) / max(len(lengths), 2)
    marks = [words(LEFT - 8, y + 14, name, "end")]
    for index, length in enumerate(lengths):
        fill = "var(--theirs)" if index else "var(--ours)"
        marks.append(bar(LEFT, y + 3 + thick * index, length, thick, fill, f"{name}: {said}"))
    return [*marks, words(LEFT + max(lengths) + 8, y + 14, said, kind="soft")]


def share(row: Row, value: float) -> float:
    """Returns the share of the floor's speed: 1 is the floor."""
    assert row.floor is not None
    return value / row.floor if row.is_rate else row.floor / value
