"""Pieces of inline SVG. Colours are variables of the page, which can be light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import floor, log10

from omnijet.runtime.profiling.style import STAGE_COLOURS

LETTER = 6.3  # pixels: average width of a letter at the plots' size
LEAST = 0.6  # pixels: the thinnest bar, so that none is invisible


def picture(width: float, height: float, marks: Sequence[str], label: str) -> str:
    """Returns the drawing; `label` is for screen readers."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(marks)}</svg>"
    )


def bar(
    x: float, y: float, width: float, height: float, fill: str, title: str, faint: bool = False
) -> str:
    """Returns a rectangle with `title` as its tooltip."""
    seen = ' fill-opacity=".38"' if faint else ""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, LEAST):.2f}" height="{height:.2f}" '
        f'fill="{fill}"{seen}><title>{escape(title)}</title></rect>'
    )


def words(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    """Returns text with its baseline at `y`; `kind` is a class of the page."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def stroke(x: float, top: float, bottom: float, kind: str) -> str:
    """Returns a line from top to bottom."""
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" class="{kind}"/>'


def across(y: float, left: float, right: float, kind: str) -> str:
    """Returns a line from left to right."""
    return f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="{kind}"/>'


def axis(end: float, unit: str, left: float, scale: float, top: float, bottom: float) -> list[str]:
    """Returns a grid from 0 at `left` to `end`, `scale` pixels per unit, with numbers below."""
    marks = []
    for tick in ticks(end):
        x = left + scale * tick
        marks += [stroke(x, top, bottom + 4, "grid"), words(x, bottom + 16, f"{tick:g}", "middle")]
    return [*marks, words(left - 8, bottom + 16, unit, "end", "soft")]


def colour(stage: str) -> str:
    """Returns the colour of a stage, the same in every plot."""
    return f"var(--{stage})" if stage in STAGE_COLOURS else "var(--other)"


def text_width(text: str) -> float:
    """Returns the approximate width of a text in pixels."""
    return LETTER * len(text)


def ticks(end: float, most: int = 8) -> list[float]:
    """Returns round numbers from 0 to `end`, with at most `most` steps."""
    if end <= 0:
        return [0.0]
    power = 10.0 ** floor(log10(end / most))
    step = next(power * digit for digit in (1, 2, 5, 10) if end / (power * digit) <= most)
    return [number * step for number in range(int(end / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Returns a number with about three significant digits: 1,234, 123, 12.3, 1.23, 0.12."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
