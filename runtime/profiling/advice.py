"""What the numbers say to do. A rule looks at a scenario and speaks only with numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.profiling.floor import Floor
from runtime.profiling.measure import Result
from runtime.profiling.spread import Spread

Numbers = dict[str, float]
FEWEST_STEPS = 5  # below, one hiccup of the system makes a median
DECODING = ("thinker_decode", "talker_decode")


@dataclass(frozen=True, slots=True)
class Advice:
    """Under the numbers of a scenario."""

    scenario: str
    rule: str
    stage: str
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`numbers` of a stage, None if it has none; `holds` says whether they call for
    `message`, which is formatted with them."""

    name: str
    stages: tuple[str, ...]
    numbers: Callable[[Result, Mapping[str, Floor], str], Numbers | None]
    holds: Callable[[Numbers], bool]
    message: str


def _step(result: Result, floors: Mapping[str, Floor], stage: str) -> Numbers | None:
    step, floor = result.steps.get(stage), floors.get(stage)
    if step is None or floor is None or step.total_us.count < FEWEST_STEPS:
        return None
    total, graph, host = step.total_us.p50, step.graph_us.p50, step.host_us.p50
    return {
        "total": total, "graph": graph, "host": host, "share": host / total,
        "floor": floor.floor_us, "ratio": graph / floor.floor_us,
        "megabytes": floor.amount / 1e6, "speed": floor.per_s / 1e9,
    }  # fmt: skip


def _dit(result: Result, floors: Mapping[str, Floor], stage: str) -> Numbers | None:
    if stage not in result.stages_ms:
        return None
    took = result.stages_ms[stage].p50
    numbers = {
        "took": took,
        "share": took / sum(spread.p50 for spread in result.stages_ms.values()),
    }
    floor = floors.get(stage)
    numbers["floor"] = floor.floor_us / 1e3 if floor else float("nan")
    numbers["ratio"] = took / numbers["floor"]
    return numbers


def _until(result: Result, floors: Mapping[str, Floor], stage: str) -> Numbers | None:
    waited = result.until_pcm_ms.get(stage)
    if waited is None:
        return None
    return {"took": waited, "share": waited / sum(result.until_pcm_ms.values())}


def _speed(result: Result, floors: Mapping[str, Floor], stage: str) -> Numbers | None:
    rtf = result.rates.get("rtf")
    return (rtf and {"rtf": rtf.p50, "stall": result.stall_ms.p50}) or None


def _steady(result: Result, floors: Mapping[str, Floor], stage: str) -> Numbers | None:
    pcm: Spread | None = result.latency_ms.get("first_pcm")
    return (pcm and {"p50": pcm.p50, "p90": pcm.p90, "count": pcm.count}) or None


RULES = (
    Rule(
        "host-bound", DECODING, _step, lambda n: n["share"] > 0.3,
        "host-bound: {host:.0f} of {total:.0f} µs a step ({share:.0%}) pass outside the graph; "
        "a faster graph will not help much, a faster core will",
    ),
    Rule(
        "bandwidth-bound", DECODING, _step, lambda n: n["ratio"] <= 1.5,
        "bandwidth-bound: {graph:.0f} µs in the graph are {ratio:.2f} times the floor of "
        "{floor:.0f} µs ({megabytes:.1f} MB at {speed:.1f} GB/s measured); only fewer bytes help: "
        "f16 or quantized weights",
    ),
    Rule(
        "above-floor", DECODING, _step, lambda n: n["ratio"] > 3 and n["share"] <= 0.3,
        "{graph:.0f} µs in the graph are {ratio:.1f} times the measured floor of {floor:.0f} µs: "
        "many small operators, or a wrong number of threads; try --threads",
    ),
    Rule(
        "dit-bound", ("dit",), _dit, lambda n: n["share"] > 0.5,
        "DiT-bound: {share:.0%} of all work, {took:.0f} ms, {ratio:.1f} times its floor of "
        "{floor:.0f} ms at the measured f32 peak; a cheaper preset evaluates it less often",
    ),
    Rule(
        "encoder-bound", ("audio_encoder", "vision_encoder"), _until, lambda n: n["share"] > 0.3,
        "the first sample waits {took:.0f} ms ({share:.0%}) for this encoder; smaller pictures, "
        "shorter sounds and clips make it shorter",
    ),
    Rule(
        "preprocess-bound", ("preprocess",), _until, lambda n: n["share"] > 0.2,
        "the first sample waits {took:.0f} ms ({share:.0%}) for decoding and resizing of media; "
        "resize them before",
    ),
    Rule(
        "slower-than-speech", ("reply",), _speed, lambda n: n["rtf"] > 1,
        "real-time factor {rtf:.2f}: speech is made slower than it plays",
    ),
    Rule(
        "stall", ("reply",), _speed, lambda n: n["stall"] > 0,
        "playback would stall for {stall:.0f} ms after its first sample",
    ),
    Rule(
        "unsteady", ("reply",), _steady, lambda n: n["count"] >= 3 and n["p90"] > 1.5 * n["p50"],
        "unsteady: first PCM p90 {p90:.0f} ms, p50 {p50:.0f} ms; stop other work, fix the clocks",
    ),
)  # fmt: skip


def advise(scenario: str, result: Result, floors: Mapping[str, Floor]) -> list[Advice]:
    """What the rules say of a scenario."""
    said = []
    for rule in RULES:
        for stage in rule.stages:
            numbers = rule.numbers(result, floors, stage)
            if numbers is not None and rule.holds(numbers):
                said.append(Advice(scenario, rule.name, stage, rule.message.format(**numbers)))
    return said
