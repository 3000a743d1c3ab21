"""Draws plans: the wait for the first sound by stage, and the memory by part."""

from __future__ import annotations

from collections.abc import Sequence

from omnijet.deployment.planner.plan import Plan
from omnijet.runtime.profiling.style import STAGE_COLOURS
from omnijet.runtime.profiling.svg import axis, bar, colour, picture, short, stroke, words

WIDE, LEFT, RIGHT, ROW, GAP = 960.0, 240.0, 130.0, 24.0, 74.0  # pixels
PARTS = {
    "weights": "thinker_prefill", "KV caches": "audio_encoder", "tables": "load",
    "inputs and outputs": "vision_encoder", "scratch": "dit", "Python": "preprocess",
    "CUDA": "vocoder",
}  # fmt: skip
"""What a part's name begins with -> the stage whose colour it has."""


def plot(plans: Sequence[tuple[str, Plan]], title: str) -> str:
    """Returns an SVG file: one bar for each plan and each of the two figures.

    Args:
        plans: with the name of each.
    """
    marks = [words(0, 16, f"{title}: all figures are predicted", kind="strong")]
    top = 40.0
    heard = [(name, plan) for name, plan in plans if plan.waits]
    if heard:
        marks += _bars(
            top, "seconds until the first sound of an answer to a spoken question of 5 s", "s",
            [(name, {s: one.value for s, one in plan.waits.items()}, None) for name, plan in heard],
        )  # fmt: skip
        top += GAP + ROW * len(heard)
    marks += _bars(
        top, "memory while it runs; the line is what is usable", "GB",
        [(name, {part: n / 1e9 for part, n in plan.memory.running.items()},
          None if plan.memory.usable is None else plan.memory.usable / 1e9)
         for name, plan in plans],
    )  # fmt: skip
    height = top + GAP + ROW * len(plans)
    head, _, body = picture(WIDE, height, marks, title).partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{head}>{_style()}{body}\n"


def _bars(
    top: float, title: str, unit: str, rows: Sequence[tuple[str, dict[str, float], float | None]]
) -> list[str]:
    end = max(max(sum(parts.values()), 0.0) for _, parts, _ in rows)
    scale = (WIDE - LEFT - RIGHT) / max(end, 1e-9)
    begin = top + 22
    bottom = begin + ROW * len(rows)
    marks = [words(0, top + 10, title, kind="soft"), *axis(end, unit, LEFT, scale, begin, bottom)]
    for place, (name, parts, limit) in enumerate(rows):
        x, y = LEFT, begin + ROW * place + 3
        marks.append(words(0, y + 14, name))
        for part, value in parts.items():
            fill = colour(_stage(part))
            marks.append(bar(x, y, scale * value, ROW - 8, fill, f"{part}: {short(value)} {unit}"))
            x += scale * value
        marks.append(words(x + 8, y + 14, f"{short(sum(parts.values()))} {unit}", kind="strong"))
        if limit is not None and limit < end:
            marks.append(stroke(LEFT + scale * limit, y - 2, y + ROW - 6, "floor"))
    return marks


def _stage(part: str) -> str:
    return next((stage for begin, stage in PARTS.items() if part.startswith(begin)), part)


def _style() -> str:
    light, dark = (
        "".join(f"--{name}:{both[place]};" for name, both in STAGE_COLOURS.items())
        for place in (0, 1)
    )
    return (
        "<style>svg{color-scheme:light dark;background:#fff;--ink:#1c2127;--soft:#5d6772;"
        f"--rule:#d9dde2;{light}}}@media(prefers-color-scheme:dark){{svg{{background:#15181c;"
        f"--ink:#e4e7ea;--soft:#9aa4af;--rule:#31373e;{dark}}}}}"
        "text{font:12px system-ui,sans-serif;fill:var(--ink)}text.soft{fill:var(--soft)}"
        "text.strong{font-weight:650}line.grid{stroke:var(--rule)}"
        "line.floor{stroke:var(--ink);stroke-width:1.5}</style>"
    )
