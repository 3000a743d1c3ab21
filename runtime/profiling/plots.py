"""Plots of a profile as SVG: waits for the first sample, steps, floors and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from omnijet.runtime.profiling.distribution import REACH
from omnijet.runtime.profiling.floor import Floor, stage_floor_ms
from omnijet.runtime.profiling.measure import Result, StepPercentiles
from omnijet.runtime.profiling.style import STAGE_COLOURS
from omnijet.runtime.profiling.svg import (
    across,
    axis,
    bar,
    colour,
    picture,
    short,
    stroke,
    text_width,
    ticks,
    words,
)

WIDE, HALF = 1100, 540  # pixels
ROW = 26


def legend(stages: Iterable[str]) -> str:
    """Returns HTML that names the colours of the stages, in pipeline order."""
    marks = "".join(
        f'<span><i style="background:{colour(name)}"></i>{escape(name.replace("_", " "))}</span>'
        for name in _in_order(stages)
    )
    return f'<div class="legend">{marks}</div>'


def waits(results: Mapping[str, Result]) -> str:
    """Draws one bar per scenario: how long its first sample waited for each stage.

    Bars show medians, and whiskers end at the 90th percentile.
    """
    spoken = {name: r for name, r in results.items() if "first_pcm" in r.latency_ms}
    if not spoken:
        return ""
    left, right = 110, 150
    end = max(result.latency_ms["first_pcm"].p90 for result in spoken.values())
    scale = (WIDE - left - right) / max(end, 1e-9)
    bottom = ROW * len(spoken)
    marks = axis(end, "ms", left, scale, 0, bottom)
    for place, (name, result) in enumerate(spoken.items()):
        y, x = ROW * place + 4, float(left)
        marks.append(words(0, y + 14, name))
        pcm = result.latency_ms["first_pcm"]
        # medians of shares need not add up to the median latency
        stretch = pcm.p50 / max(sum(result.until_pcm_ms.values()), 1e-9)
        for stage in _in_order(result.until_pcm_ms):
            ms = result.until_pcm_ms[stage]
            width = scale * ms * stretch
            marks.append(bar(x, y, width, ROW - 8, colour(stage), f"{stage}: {short(ms)} ms"))
            x += width
        late = left + scale * pcm.p90
        marks += [
            across(y + (ROW - 8) / 2, x, late, "mark"),
            stroke(late, y + 3, y + ROW - 11, "mark"),
            words(late + 8, y + 14, f"{short(pcm.p50)} ms", kind="strong"),
            words(late + 70, y + 14, f"p90 {short(pcm.p90)}", kind="soft"),
        ]
    return picture(WIDE, bottom + 22, marks, "what the first sample waits for")


def steps(stage: str, step: StepPercentiles, floor: Floor | None) -> str:
    """Draws the histogram of decode steps, with lines at percentiles and at the floor."""
    found = step.histogram
    height, top, left = 118.0, 34.0, 4.0
    low, high = found.edges[0], found.edges[-1]
    near = floor is not None and floor.floor_us > low / REACH
    if floor is not None and near:
        low = min(low, floor.floor_us)
    low -= 0.03 * (high - low)
    scale = (HALF - 2 * left) / max(high - low, 1e-9)
    tallest = max(found.counts)
    marks = [across(top + height, left, HALF - left, "grid")]
    for begin, end, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        if count:
            tall = height * count / tallest
            title = f"{short(begin)} to {short(end)} µs: {count} steps"
            x, width = left + scale * (begin - low), scale * (end - begin) - 1
            marks.append(bar(x, top + height - tall, width, tall, colour(stage), title))
    total = step.total_us
    lines = [("p50", total.p50, "mark"), ("p90", total.p90, "mark")]
    if floor is not None and near:
        lines.append(("floor", floor.floor_us, "floor"))
    free = [0.0, 0.0, 0.0]  # where each row of labels ends
    if floor is not None and not near:  # a line this far left would squeeze the histogram
        label = f"← floor {short(floor.floor_us)}"
        marks.append(words(left, 10, label))
        free[0] = left + text_width(label) + 8
    for name, value, kind in sorted(lines, key=lambda line: line[1]):
        if value > high:
            continue
        x, label = left + scale * (value - low), f"{name} {short(value)}"
        anchor = "end" if x + text_width(label) > HALF else "start"
        begin = x - text_width(label) if anchor == "end" else x
        row = next((row for row, end in enumerate(free) if end <= begin), len(free) - 1)
        free[row] = begin + text_width(label) + 8
        marks += [
            stroke(x, 2 + 11.0 * row, top + height, kind),
            words(x + (3 if anchor == "start" else -3), 10 + 11.0 * row, label, anchor),
        ]
    for tick in ticks(high, 6):
        if tick >= low:
            x = left + scale * (tick - low)
            marks.append(words(x, top + height + 14, f"{tick:g}", "middle", "soft"))
    if found.above:
        beyond = f"{found.above} of {total.count} beyond, up to {short(total.most)} →"
        marks.append(words(HALF - left, top - 3, beyond, "end", "soft"))
    return picture(HALF, top + height + 20, marks, f"steps of {stage}")


def against_floor(result: Result, floors: Mapping[str, Floor]) -> str:
    """Draws one bar per stage: its median time, with the floor as the opaque part."""
    left, right = 112, 185
    end = max(percentiles.p50 for percentiles in result.stages_ms.values())
    scale = (HALF - left - right) / max(end, 1e-9)
    marks = []
    for place, (stage, percentiles) in enumerate(result.stages_ms.items()):
        y = ROW * place + 3
        width = scale * percentiles.p50
        floor = stage_floor_ms(stage, result, floors)
        said = f"{short(percentiles.p50)} ms"
        title = f"{stage}: {said}"
        if floor is not None:
            said += f" · {short(percentiles.p50 / floor)} × floor of {short(floor)}"
            title += f", {floors[stage].reason}"
        marks += [
            words(0, y + 14, stage.replace("_", " ")),
            bar(left, y + 2, width, ROW - 10, colour(stage), title, faint=True),
        ]
        if floor is not None:
            marks += [
                bar(left, y + 2, scale * floor, ROW - 10, colour(stage), title),
                stroke(left + scale * floor, y, y + ROW - 6, "floor"),
            ]
        marks.append(words(left + max(width, scale * (floor or 0)) + 8, y + 14, said))
    return picture(HALF, ROW * len(result.stages_ms) + 4, marks, "stages against their floors")


def memory(results: Mapping[str, Result], limit: int) -> str:
    """Draws one bar per scenario: resident memory before, at the peak (faint) and after (line).

    Args:
        limit: memory of the machine in bytes; 0 if unknown.
    """
    known = {name: r.memory for name, r in results.items() if r.memory.peak}
    if not known:
        return ""
    left, right = 110, 330
    end = max(max(held.peak, held.after) for held in known.values()) / 1e6
    scale = (WIDE - left - right) / end
    bottom = ROW * len(known)
    marks = axis(end, "MB", left, scale, 0, bottom)
    for place, (name, held) in enumerate(known.items()):
        y = ROW * place + 4
        before, after, peak = (count / 1e6 for count in (held.before, held.after, held.peak))
        part = f", {held.peak / limit:.1%} of {limit / 1e9:.1f} GB" if limit else ""
        marks += [
            words(0, y + 14, name),
            bar(left, y, scale * peak, ROW - 8, "var(--memory)", f"peak {peak:.0f} MB", faint=True),
            bar(left, y, scale * before, ROW - 8, "var(--memory)", f"before {before:.0f} MB"),
            stroke(left + scale * after, y - 2, y + ROW - 6, "floor"),
            words(
                left + scale * max(peak, after) + 8, y + 14,
                f"{before:.0f} → {after:.0f} MB, peak {peak:.0f}{part}",
            ),
        ]  # fmt: skip
    return picture(WIDE, bottom + 22, marks, "resident memory")


def _in_order(stages: Iterable[str]) -> list[str]:
    """Returns the stages in pipeline order."""
    rank = {stage: place for place, stage in enumerate(STAGE_COLOURS)}
    return sorted(stages, key=lambda stage: rank.get(stage, len(rank)))
