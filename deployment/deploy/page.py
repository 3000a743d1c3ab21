"""The report of a deployment as one page, which loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from omnijet.deployment.deploy.report import Report
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.files.printable import one_line
from omnijet.runtime.profiling.style import STYLE

MARKS = {True: "ok", False: "FAILED", None: ""}


def html(report: Report) -> str:
    """Returns the page; all names and texts in it are escaped."""
    order = report.order
    body = [
        "<h1>omnijet deploy</h1>",
        _facts(
            ("checkpoint", order.checkpoint),
            ("target", f"{order.target}: {order.machine.title}"),
            ("recipe", order.recipe),
            ("precision", order.dtype),
            ("context", f"{order.context:,} rows" if order.context else "the target's limit"),
        ),
        *(f'<div class="advice"><b>FAILED</b>{_text(fault)}</div>' for fault in report.faults),
        _table("steps", ("step", "", "took, s", "peak memory", "attempts", "where", "why"), [
            (
                name, one.state, f"{one.seconds:.1f}" if one.seconds else "",
                size_text(one.peak_bytes) if one.peak_bytes else "", str(len(one.attempts) or ""),
                one.where, one.why,
            )
            for name, one in report.steps.items()
        ]),
        _sizes(report),
        _table("predicted and measured", ("figure", "predicted", "measured", "unit"),
               [one.row() for one in report.figures]),
        _table("fidelity", ("what", "measured", "tolerance", ""), [
            (
                str(one["meaning"]), _number(one["value"]), _number(one["tolerance"]),
                MARKS.get(one["passed"], ""),
            )
            for one in report.fidelity
        ]),
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>omnijet deploy: {_text(order.checkpoint)}</title><style>{STYLE}</style>"
        f"</head><body>{''.join(body)}</body></html>\n"
    )


def _sizes(report: Report) -> str:
    rows = [(one.graph, one.float_bytes, one.bytes, one.engine_bytes) for one in report.sizes]
    if rows:
        _, floats, weights, engines = zip(*rows, strict=True)
        rows.append(("all", sum(floats), sum(weights), sum(engines)))
    return _table(
        "sizes",
        ("graph", "float weights", "weights", "engine"),
        [(row[0], *(size_text(count) if count else "" for count in row[1:])) for row in rows],
    )


def _facts(*facts: tuple[str, str]) -> str:
    rows = "".join(
        f"<div><b>{_text(name)}</b><span>{_text(text)}</span></div>" for name, text in facts
    )
    return f'<div class="facts">{rows}</div>'


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<h2>{_text(title)}</h2><div class="wide"><table>'
        f"<thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _text(text: str) -> str:
    return escape(one_line(text))
