"""Writes a profile as one HTML page with inline SVG plots that loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from omnijet.runtime.profiling import plots
from omnijet.runtime.profiling.advice import ANY, Advice
from omnijet.runtime.profiling.measure import Result
from omnijet.runtime.profiling.percentiles import Percentiles
from omnijet.runtime.profiling.record import Profile
from omnijet.runtime.profiling.style import STYLE
from omnijet.runtime.profiling.svg import short
from omnijet.runtime.profiling.timeline import timeline
from omnijet.runtime.profiling.trace import Track

KEY_FIGURES = (
    ("first_text", "first text, ms"), ("first_code", "first code, ms"),
    ("first_pcm", "first PCM, ms"), ("rtf", "real-time factor"),
)  # fmt: skip


def html(profile: Profile, tracks: Mapping[str, Track]) -> str:
    """Returns the page.

    Args:
        tracks: the run of each scenario whose timeline is drawn.
    """
    body = [
        "<h1>omnijet profile</h1>",
        _facts(profile),
        *(_advice(said) for said in profile.advice if said.scenario == ANY),
        _summary(profile),
        *(_scenario(profile, name, tracks.get(name)) for name in profile.scenarios),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>omnijet profile: {escape(profile.bundle.name)}</title><style>{STYLE}</style>"
        f"</head><body>{''.join(body)}</body></html>\n"
    )


def _facts(profile: Profile) -> str:
    rows = "".join(
        f"<div><b>{escape(name)}</b><span>{escape(text)}</span></div>"
        for name, text in profile.facts()
    )
    return f'<div class="facts">{rows}</div>'


def _summary(profile: Profile) -> str:
    results = profile.scenarios
    stages = dict.fromkeys(name for r in results.values() for name in r.until_pcm_ms)
    return (
        '<div class="wide"><table>'
        + _key_figures(results)
        + "</table></div>"
        + _figure(
            plots.waits(results),
            "What the first sample waits for, by scenario: medians; the whisker ends at p90.",
            before=plots.legend(stages),
        )
        + _figure(
            plots.memory(results, profile.machine.memory_bytes),
            f"Resident memory, by scenario: before (full), at its peak{_whose(results)} (faint), "
            "after (line). Graphs are loaded when a scenario first needs them, and stay.",
        )
    )


def _whose(results: Mapping[str, Result]) -> str:
    """Returns a note for the caption where peaks are those of the process."""
    kept = any(result.memory.scope == "process" for result in results.values())
    return ", which this system keeps for the whole process," if kept else ""


def _key_figures(results: Mapping[str, Result]) -> str:
    """Returns the rows of the key figures: one per scenario, with percentiles."""
    heads = "".join(f'<th colspan="3" class="edge">{title}</th>' for _, title in KEY_FIGURES)
    again = '<th class="edge">p50</th><th>p90</th><th>p99</th>' * len(KEY_FIGURES)
    rows = []
    for name, result in results.items():
        figures = {**result.latency_ms, **result.rates}
        cells = "".join(_percentile_cells(figures.get(key), key == "rtf") for key, _ in KEY_FIGURES)
        rows.append(f'<tr><td><a href="#{escape(name)}">{escape(name)}</a></td>{cells}</tr>')
    return (
        f"<thead><tr><th></th>{heads}</tr><tr><th>scenario</th>{again}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody>"
    )


def _percentile_cells(percentiles: Percentiles | None, is_rtf: bool) -> str:
    if percentiles is None:
        return '<td class="edge">–</td><td></td><td></td>'
    cells = []
    for kind, value in (
        ("edge key", percentiles.p50),
        ("", percentiles.p90),
        ("", percentiles.p99),
    ):
        # above 1, speech is made slower than it plays
        late = " late" if is_rtf and value > 1 else ""
        cells.append(f'<td class="{kind}{late}">{short(value)}</td>')
    return "".join(cells)


def _scenario(profile: Profile, name: str, track: Track | None) -> str:
    result, floors = profile.scenarios[name], profile.floors.get(name, {})
    parts = [f'<h2 id="{escape(name)}">{escape(name)}</h2>', _lead(result)]
    parts += [_advice(a) for a in profile.advice if a.scenario == name]
    if track is not None:
        parts.append(
            _figure(
                timeline(track),
                f"{escape(track.name)}, milliseconds since the end of the user's input. The "
                "Talker's steps begin as soon as the Thinker wrote a token; DiT and vocoder work "
                "beside them.",
                before=plots.legend(dict.fromkeys(span.stage for span in track.spans)),
            )
        )
    bars = _figure(
        plots.against_floor(result, floors),
        "Each stage's median time against its floor: what this machine cannot go below.",
    )
    histograms = "".join(
        _figure(
            plots.steps(stage, step, floors.get(stage)),
            f"{stage.replace('_', ' ')}: µs a step over {step.total_us.count} steps; "
            f"{short(step.host_us.p50)} of {short(step.total_us.p50)} µs pass on the host, "
            "outside the graph (medians).",
        )
        for stage, step in result.steps.items()
    )
    parts.append(f'<div class="two"><div>{bars}</div><div>{histograms}</div></div>')
    parts.append(
        f'<details><summary>all numbers</summary><div class="wide">{_table(result)}</div></details>'
    )
    return "".join(parts)


def _lead(result: Result) -> str:
    """Returns the key medians in large type, with the size of question and reply."""
    shown = []
    for key, title in (*KEY_FIGURES, ("whole", "whole reply, ms")):
        percentiles = {**result.latency_ms, **result.rates}.get(key)
        if percentiles is not None:
            kind = ' class="pcm"' if key == "first_pcm" else ""
            shown.append(f"<div{kind}><b>{short(percentiles.p50)}</b><span>{title}</span></div>")
    return f'<p class="soft">{escape(result.summary())}</p><div class="lead">{"".join(shown)}</div>'


def _advice(advice: Advice) -> str:
    return (
        f'<div class="advice"><b>{escape(advice.stage.replace("_", " "))}</b>'
        f"{escape(advice.message)}</div>"
    )


def _figure(plot: str, caption: str, before: str = "") -> str:
    return f"<figure>{before}{plot}<figcaption>{caption}</figcaption></figure>" if plot else ""


def _table(result: Result) -> str:
    rows: list[tuple[str, Percentiles]] = []
    rows += [(f"{name}, ms", percentiles) for name, percentiles in result.latency_ms.items()]
    rows += [(f"{name}, ms", percentiles) for name, percentiles in result.stages_ms.items()]
    for name, step in result.steps.items():
        rows += [
            (f"{name} step, µs", step.total_us), (f"{name} step, in the graph, µs", step.graph_us),
            (f"{name} step, host, µs", step.host_us),
        ]  # fmt: skip
    rows += list(result.rates.items())
    rows.append(("stall, ms", result.stall_ms))
    return _rows(
        ("", "samples", "least", "p50", "p90", "p99", "most"),
        (
            (
                name.replace("_", " "),
                str(s.count),
                *map(short, (s.least, s.p50, s.p90, s.p99, s.most)),
            )
            for name, s in rows
        ),
    )


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
