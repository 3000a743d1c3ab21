"""Shows a fidelity measurement as tables, as JSON or as a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from rich.table import Table

from omnijet.quantization.fidelity import plots
from omnijet.quantization.fidelity.distances import EQUAL_DB
from omnijet.quantization.fidelity.gate import Judgement, faults
from omnijet.quantization.fidelity.measure import Fidelity
from omnijet.quantization.fidelity.speed import CODES_PER_S
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.profiling.style import STYLE

WORST = 10  # number of layers that are shown

SPEED_NOTE = (
    "Upper bounds, not predictions of a product: memory bandwidth over the bytes of weights that a "
    "step reads, nothing else counted."
)


@dataclass(frozen=True, slots=True)
class Rows:
    """The content of a table; all columns after the first `words` hold numbers."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1
    note: str = ""


def to_json(fidelity: Fidelity, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Returns the measurement with its verdict."""
    found = faults(fidelity, judgements)
    gate = [{**asdict(j), "value": _number(j.value)} for j in judgements]
    return {**fidelity.to_json(), "gate": gate, "faults": found, "ok": not found}


def tables(fidelity: Fidelity, judgements: Sequence[Judgement]) -> list[Table]:
    """Returns the tables for a terminal."""
    shown = []
    for rows in _all(fidelity, judgements):
        table = Table(*rows.head, title=rows.title, caption=rows.note or None)
        for column in table.columns[rows.words :]:
            column.justify = "right"
        for row in rows.rows:
            table.add_row(*row)
        shown.append(table)
    return shown


def html(fidelity: Fidelity, judgements: Sequence[Judgement]) -> str:
    """Returns a self-contained page with inline SVG plots."""
    found = faults(fidelity, judgements)
    verdict, layers, weights, speed, scores = (
        _page_rows(rows) if rows.rows else "" for rows in _sections(fidelity, judgements)
    )
    body = [
        "<h1>omnijet fidelity</h1>",
        _facts(fidelity),
        *(f'<div class="advice"><b>FAILED</b>{escape(fault)}</div>' for fault in found),
        verdict,
        _figure(
            plots.layers(fidelity.layers),
            "Every quantized layer by itself: signal to noise of its output on calibration rows.",
        ),
        layers,
        _figure(
            plots.weights(fidelity.weights),
            "Bytes of weights: float (faint) and quantized (full).",
        ),
        weights,
        _figure(
            plots.scores(fidelity.scores) if fidelity.scores else "",
            "Scores with 95 % intervals: float (faint), quantized (full), and the difference item "
            "by item.",
        ),
        scores,
        speed,
    ]
    name = escape(fidelity.bundle)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>omnijet fidelity: {name}</title><style>{STYLE}</style>"
        f"</head><body>{''.join(body)}</body></html>\n"
    )


# -- the content of the tables --------------------------------------------------------------


def _sections(fidelity: Fidelity, judgements: Sequence[Judgement]) -> tuple[Rows, ...]:
    return (
        _verdicts(fidelity, judgements),
        _layers(fidelity),
        _weights(fidelity),
        _speed(fidelity),
        _scores(fidelity),
    )


def _all(fidelity: Fidelity, judgements: Sequence[Judgement]) -> Iterator[Rows]:
    return (rows for rows in _sections(fidelity, judgements) if rows.rows)


def _verdicts(fidelity: Fidelity, judgements: Sequence[Judgement]) -> Rows:
    marks = {True: "ok", False: "FAILED", None: ""}
    rows = []
    for judgement in judgements:
        tolerance = "–"
        if judgement.tolerance is not None:
            tolerance = f"{judgement.bound} {judgement.tolerance:g}"
        measured = _value(judgement)
        rows.append((judgement.meaning, measured, tolerance, marks[judgement.passed]))
    stability = fidelity.stability
    broke = stability.broke is not None
    speaks = any(one.graph == "talker_step" for one in fidelity.weights)
    rows.append(
        (
            "Thinker and Talker together, finite" if speaks else "Thinker, finite",
            f"{stability.steps} steps" + (f", then {stability.broke} broke" if broke else ""),
            "all",
            marks[not broke],
        )
    )
    title = (
        f"{fidelity.bundle} against {fidelity.float_bundle}: {fidelity.conversations} "
        f"conversations, {fidelity.text_tokens} text tokens, {fidelity.codes} codes"
    )
    return Rows(title, ("fidelity", "measured", "tolerance", ""), rows)


def _value(judgement: Judgement) -> str:
    value = judgement.value
    if value is None:
        return "not measured"
    if not math.isfinite(value):
        return "not finite"
    if judgement.metric.endswith("_db"):
        return "equal" if value == EQUAL_DB else f"{value:.1f}"
    return f"{value:.4g}"


def _layers(fidelity: Fidelity) -> Rows:
    found = fidelity.layers
    return Rows(
        f"the {min(WORST, len(found))} worst of {len(found)} layers, each by itself",
        ("graph", "layer", "scheme", "SNR, dB", "weights", "float"),
        [
            (
                layer.graph, layer.layer, layer.scheme, f"{layer.snr_db:.1f}",
                size_text(layer.bytes), size_text(layer.float_bytes),
            )
            for layer in found[:WORST]
        ],
        words=3,
    )  # fmt: skip


def _weights(fidelity: Fidelity) -> Rows:
    graphs = [(one.graph, one.float_bytes, one.bytes) for one in fidelity.weights]
    return Rows(
        f"weights ({fidelity.recipe})",
        ("graph", "float", "quantized", "times smaller"),
        [
            (name, size_text(before), size_text(after), f"{before / max(after, 1):.2f}")
            for name, before, after in (*graphs, ("all", fidelity.float_bytes, fidelity.bytes))
        ],
    )


def _speed(fidelity: Fidelity) -> Rows:
    rows = []
    for bound in fidelity.speed_bounds:
        unit = "tokens/s"
        if bound.graph == "talker_step":
            unit = f"codes/s (speech needs {CODES_PER_S})"
        rows.append(
            (
                bound.target,
                bound.graph,
                unit,
                size_text(bound.bytes),
                f"{bound.float_steps_per_s:,.1f}",
                f"{bound.steps_per_s:,.1f}",
            )
        )
    head = ("target", "graph", "", "bytes a step", "float, at most", "quantized, at most")
    return Rows("upper bounds of decoding speed", head, rows, words=3, note=SPEED_NOTE)


def _scores(fidelity: Fidelity) -> Rows:
    def percent(value: float, low: float, high: float, sign: str = "") -> str:
        return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"

    rows = []
    for change in fidelity.scores:
        before, after = change.before, change.after
        rows.append(
            (
                before.name,
                before.kind,
                percent(before.value, before.low, before.high),
                percent(after.value, after.low, after.high),
                percent(change.difference, change.low, change.high, "+"),
                str(before.items),
            )
        )
    head = ("score", "", "float, %", "quantized, %", "difference", "items")
    return Rows("scores with 95 % intervals", head, rows, words=2)


# -- the page -------------------------------------------------------------------------------


def _facts(fidelity: Fidelity) -> str:
    facts = (
        ("bundle", f"{fidelity.bundle}, recipe {fidelity.recipe}, {fidelity.precision}"),
        ("against", f"{fidelity.float_bundle}, {fidelity.float_precision}"),
        (
            "compared on",
            f"{fidelity.conversations} conversations, {fidelity.text_tokens} text tokens, "
            f"{fidelity.codes} codes",
        ),
        ("weights", f"{size_text(fidelity.float_bytes)} → {size_text(fidelity.bytes)}"),
    )
    rows = "".join(f"<div><b>{name}</b><span>{escape(text)}</span></div>" for name, text in facts)
    return f'<div class="facts">{rows}</div>'


def _page_rows(rows: Rows) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        left = ' style="text-align:left"'
        return "".join(
            f"<{tag}{left if place < rows.words else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows.rows)
    note = f'<p class="soft">{escape(rows.note)}</p>' if rows.note else ""
    return (
        f'<h2>{escape(rows.title)}</h2>{note}<div class="wide"><table>'
        f"<thead><tr>{cells(rows.head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _figure(plot: str, caption: str) -> str:
    return f"<figure>{plot}<figcaption>{caption}</figcaption></figure>" if plot else ""


def _number(value: float | None) -> float | None:
    """Returns the number or None, because JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None
