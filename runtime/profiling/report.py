"""A page that explains a profile: one HTML file, its plots inline SVG, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from runtime.profiling.measure import ORDER, Result
from runtime.profiling.record import Profile
from runtime.profiling.trace import Track

WIDTH, ROW, LEFT = 900, 22, 130  # pixels; LEFT is for labels
LEAST = 0.4  # pixels: events nearer than this are drawn as one
COLOURS = (
    "#b5487a", "#d2762c", "#7a6ccf", "#3f8f5f", "#3d7fb8", "#5aa7a0", "#a98a2c", "#8a6d5a",
    "#999999", "#6c8a3a",
)  # fmt: skip
STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}
h1{margin-bottom:0}h2{margin-top:2em;border-top:1px solid #8886;padding-top:.7em}
.big{font-size:2em;font-weight:600}table{border-collapse:collapse;margin:1em 0}
td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid #8884}
td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}
text{font:11px system-ui,sans-serif;fill:currentColor}.advice{border-left:4px solid #d2762c;
padding:.2em 1em;margin:.6em 0;background:#d2762c18}.facts{opacity:.75;font-size:.9em}
"""


def html(profile: Profile, tracks: Mapping[str, Track]) -> str:
    """The page; `tracks` are one run of each scenario."""
    machine, bundle, settings = profile.machine, profile.bundle, profile.settings
    facts = (
        f"{machine.device}, {machine.system}",
        f"power mode {machine.power_mode}, governor {machine.governor}, "
        f"CPU {machine.cpu_mhz} MHz, GPU {machine.gpu_mhz} MHz, Jetson {machine.jetson_release}",
        ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        f"{bundle.name} ({bundle.precision}), manifest sha256 {bundle.sha256}",
        f"{settings.runs} runs after {settings.warmup}, {settings.backend}, "
        f"preset {settings.preset or 'none'}",
    )
    parts = ["<h1>omnijet profile</h1>", *(f'<div class="facts">{escape(f)}</div>' for f in facts)]
    for name, result in profile.scenarios.items():
        parts.append(f"<h2>{escape(name)}</h2>")
        if (pcm := result.latency_ms.get("first_pcm")) is not None:
            parts.append(f'<div class="big">{pcm.p50:.0f} ms to the first sample</div>')
            parts.append(_shares(result))
        if name in tracks:
            parts.append(_timeline(tracks[name]))
        parts.append(_table(result))
        parts += [
            f'<div class="advice"><b>{escape(a.stage)}</b>: {escape(a.message)}</div>'
            for a in profile.advice
            if a.scenario == name
        ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>omnijet profile</title>'
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _colour(stage: str) -> str:
    return COLOURS[ORDER.index(stage)] if stage in ORDER else "#bbbbbb"


def _svg(height: float, marks: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(marks)}</svg>'


def _bar(x: float, y: float, width: float, height: float, stage: str, title: str) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, LEAST):.2f}" height="{height}" '
        f'fill="{_colour(stage)}"><title>{escape(title)}</title></rect>'
    )


def _shares(result: Result) -> str:
    """What the first sample waited for, as one bar."""
    whole = sum(result.until_pcm_ms.values())
    if not whole:
        return ""
    marks, x = [], 0.0
    for stage, ms in result.until_pcm_ms.items():
        width = WIDTH * ms / whole
        marks.append(_bar(x, 0, width, ROW + 6, stage, f"{stage}: {ms:.1f} ms"))
        if width > 7 * len(stage):
            marks.append(f'<text x="{x + 5:.1f}" y="18">{escape(stage)}</text>')
        x += width
    return _svg(ROW + 6, marks)


def _timeline(track: Track) -> str:
    """A row a stage; marks as lines across."""
    end = max([*(span.end_ms for span in track.spans), *track.marks.values(), 1e-9])
    scale = (WIDTH - LEFT - 10) / end
    stages = list(dict.fromkeys(span.stage for span in track.spans))
    height = ROW * (len(stages) + 2)
    marks = []
    for row, stage in enumerate(stages, start=1):
        marks.append(f'<text x="0" y="{ROW * row + 15}">{escape(stage)}</text>')
        for begin, stop in _merged(track, stage, LEAST / scale):
            title = f"{stage}: {begin:.2f} to {stop:.2f} ms"
            x, width = LEFT + scale * begin, scale * (stop - begin)
            marks.append(_bar(x, ROW * row + 3, width, ROW - 6, stage, title))
    for place, (name, ms) in enumerate(track.marks.items()):
        x = LEFT + scale * ms
        # labels of early marks lie left to right, the last ones would leave the page
        anchor, y = ("end" if x > WIDTH - 150 else "start"), (12 if place % 2 else height - 4)
        marks.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ROW - 4}" y2="{height - ROW}" '
            f'stroke="currentColor" stroke-dasharray="3 3"/>'
            f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(name)} {ms:.0f} ms</text>'
        )
    return _svg(height, marks)


def _merged(track: Track, stage: str, gap_ms: float) -> list[tuple[float, float]]:
    """(begin, end) of a stage's spans; what would touch on the screen is one."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted((s.begin_ms, s.end_ms) for s in track.spans if s.stage == stage):
        if merged and begin - merged[-1][1] < gap_ms:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _table(result: Result) -> str:
    rows = [(f"{name}, ms", spread) for name, spread in result.latency_ms.items()]
    rows += [(f"{name}, ms", spread) for name, spread in result.stages_ms.items()]
    for name, step in result.steps.items():
        rows += [(f"{name} step, µs", step.total_us), (f"{name} step, host, µs", step.host_us)]
    rows += list(result.rates.items())
    cells = "".join(
        f"<tr><td>{escape(name)}<td>{s.p50:.2f}<td>{s.p90:.2f}<td>{s.p99:.2f}" for name, s in rows
    )
    return f"<table><tr><th><th>p50<th>p90<th>p99{cells}</table>"
