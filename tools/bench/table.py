"""The figures as a table of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.bench.results import Results
from tools.bench.row import Row

HEAD = ("work", "omnijet", "floor", "of the floor", "peer", "times as fast", "")


def table(results: Results) -> str:
    """Returns a row for each figure; a part that failed has one that says so."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for name, part in results.parts.items():
        if part.fault:
            lines.append((name, "", "", "", "", "", f"failed: {part.fault}"))
        lines += [cells(row) for row in part.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    floor = "" if row.floor is None else number(row.floor)
    of_floor = "" if row.of_floor is None else f"{row.of_floor:.2f} x"
    return (
        row.work, f"{number(row.ours)} {row.unit}", floor, of_floor, ", ".join(peers(row)),
        ", ".join(f"**{row.times_as_fast(peer):.2f}**" for peer in row.peers), row.note,
    )  # fmt: skip


def peers(row: Row) -> Iterator[str]:
    for peer, theirs in row.peers.items():
        yield f"{peer} {number(theirs)}"


def number(value: float) -> str:
    """Returns three digits: 1,234, 123, 12.3, 1.23, 0.012."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def rate_text(rates: Mapping[str, float]) -> str:
    return (
        f"measured: {rates['read'] / 1e9:.1f} GB/s read from memory, "
        f"{rates['f32'] / 1e9:,.0f} GFLOP/s in f32, {rates['int8'] / 1e9:,.0f} in 8 bits"
    )
