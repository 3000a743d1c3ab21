"""The report: outcomes as Markdown, for BENCHMARKS.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.gpu_check.parts import ASKED, BF16, GRAPHS, PEER, Outcome

Row = Sequence[str]


def markdown(title: str, outcomes: Sequence[Outcome]) -> str:
    """Returns tables of parity and of stages, and the verdict on every part."""
    ways = list(dict.fromkeys(one.part.way for one in outcomes if one.part.way))
    ours = [way for way in ways if way != PEER]
    sections = [
        f"## {title}",
        "Parity with the processor: lowest signal-to-noise ratio, and the time of a call "
        "(Omnijet-nano, f16 unless it is said).\n\n"
        + table(("graph", *ours), [(graph, *cells) for graph, cells in _parities(ours, outcomes)]),
    ]
    if stages := _stages(ways, outcomes):
        sections.append("`omnijet bench` at the 3B's dimensions, milliseconds.\n\n" + stages)
    rows = [(o.part.name, o.verdict, f"{o.seconds:.0f}", o.said) for o in outcomes]
    sections.append(table(("part", "", "seconds", ""), rows))
    return "\n\n".join(sections) + "\n"


def table(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _parities(ways: Sequence[str], outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[str]]]:
    """Yields a row per graph; graphs in bf16 only where one was compared."""
    for graph in (*GRAPHS, *(graph + BF16 for graph in GRAPHS)):
        cells = _parity(graph, ways, outcomes)
        if any(cells) or not graph.endswith(BF16):
            yield graph, cells


def _parity(graph: str, ways: Sequence[str], outcomes: Sequence[Outcome]) -> list[str]:
    cells = []
    for way in ways:
        one = next((o for o in outcomes if o.part.name == f"{way}: parity of {graph}"), None)
        if one is None or "snr_db" not in one.facts:
            cells.append("" if one is None else one.verdict)
            continue
        worst = min(one.facts["snr_db"].values())
        mark = "" if one.verdict == "passed" else " (too low)"
        cells.append(f"{worst:.0f} dB{mark}, {one.facts['call_us']:.0f} µs")
    return cells


def _stages(ways: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    benches = {o.part.way: o.facts for o in outcomes if o.part.name.endswith("bench 3B")}
    measured = {way: facts for way, facts in benches.items() if "stages_ms" in facts}
    if not measured:
        return ""
    stages = dict.fromkeys(stage for facts in measured.values() for stage in facts["stages_ms"])
    rows = [
        (stage, *(_ms(facts["stages_ms"].get(stage)) for facts in measured.values()))
        for stage in stages
    ]
    for stage in dict.fromkeys(s for facts in measured.values() for s in facts["steps"]):
        steps = [facts["steps"].get(stage) for facts in measured.values()]
        rows.append((f"{stage}, one step", *(_ms(s and s["total_us"] / 1e3) for s in steps)))
        host = [(s or {}).get("host_us") for s in steps]
        rows.append((f"{stage}, of it host", *(_ms(us and us / 1e3) for us in host)))
    factors = [facts.get("real_time_factor") for facts in measured.values()]
    rows.append(("real-time factor", *("" if f is None else f"{f:.3f}" for f in factors)))
    streams = [_streamed(way, outcomes) for way in measured]
    rows.append((f"first PCM of a stream ({ASKED})", *(_ms(first) for first in streams)))
    return table(("stage", *measured), rows)


def _streamed(way: str, outcomes: Sequence[Outcome]) -> float | None:
    """Returns the median first-PCM latency in milliseconds, without the first reply."""
    found = next((o.facts for o in outcomes if o.part.name == f"{way}: profile 3B"), {})
    if "scenarios" not in found:
        return None
    first: float = found["scenarios"][ASKED]["latency_ms"]["first_pcm"]["p50"]
    return first


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
