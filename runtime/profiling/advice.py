"""Rules that derive advice from the numbers of a scenario or of the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from omnijet.runtime.profiling.floor import Floor
from omnijet.runtime.profiling.machine import UNKNOWN, Machine
from omnijet.runtime.profiling.measure import Result

Numbers = Mapping[str, float | str]
ANY = "every scenario"
FEWEST_STEPS = 5  # with fewer, one hiccup of the system moves the median
FASTEST = "MAXN"  # prefix of the names of a Jetson's unlimited power modes

DECODING = ("thinker_decode", "talker_decode")
PREFILL = ("thinker_prefill", "talker_prefill")
ENCODERS = ("audio_encoder", "vision_encoder")


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice on a scenario; advice on the machine has `ANY` as its scenario."""

    scenario: str
    rule: str
    stage: str
    message: str


class Evidence(NamedTuple):
    """The measurements that a rule reads."""

    result: Result
    floors: Mapping[str, Floor]
    machine: Machine


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for stages of a scenario.

    Attributes:
        look: returns the numbers that call for the message, or None.
        message: the text that is formatted with these numbers.
    """

    name: str
    stages: tuple[str, ...]
    look: Callable[[Evidence, str], Numbers | None]
    message: str


@dataclass(frozen=True, slots=True)
class MachineRule:
    """One rule for the machine; see `Rule`."""

    name: str
    look: Callable[[Machine], Numbers | None]
    message: str


def advise(
    scenario: str, result: Result, floors: Mapping[str, Floor], machine: Machine
) -> list[Advice]:
    """Returns the advice on a scenario."""
    evidence = Evidence(result, floors, machine)
    return [
        Advice(scenario, rule.name, stage, rule.message.format(**numbers))
        for rule in RULES
        for stage in rule.stages
        if (numbers := rule.look(evidence, stage)) is not None
    ]


def advise_machine(machine: Machine) -> list[Advice]:
    """Returns the advice on the machine, which holds for every scenario."""
    return [
        Advice(ANY, rule.name, "machine", rule.message.format(**numbers))
        for rule in MACHINE_RULES
        if (numbers := rule.look(machine)) is not None
    ]


def _step(evidence: Evidence, stage: str) -> dict[str, float] | None:
    step, floor = evidence.result.steps.get(stage), evidence.floors.get(stage)
    if step is None or floor is None or step.total_us.count < FEWEST_STEPS:
        return None
    total, graph, host = step.total_us.p50, step.graph_us.p50, step.host_us.p50
    return {
        "total": total, "graph": graph, "host": host, "share": host / total,
        "floor": floor.floor_us, "ratio": graph / floor.floor_us,
        "megabytes": floor.amount / 1e6, "speed": floor.per_s / 1e9,
    }  # fmt: skip


def _host_bound(evidence: Evidence, stage: str) -> Numbers | None:
    numbers = _step(evidence, stage)
    return numbers if numbers and numbers["share"] > 0.3 else None


def _bandwidth_bound(evidence: Evidence, stage: str) -> Numbers | None:
    numbers = _step(evidence, stage)
    reads = numbers is not None and evidence.floors[stage].kind == "bytes"
    return numbers if numbers and reads and numbers["ratio"] <= 1.5 else None


def _above_floor(evidence: Evidence, stage: str) -> Numbers | None:
    numbers = _step(evidence, stage)
    return numbers if numbers and numbers["ratio"] > 3 and numbers["share"] <= 0.3 else None


def _of_all_work(least: float) -> Callable[[Evidence, str], Numbers | None]:
    """Returns a `look` for stages that take more than this share of all stages' time."""

    def look(evidence: Evidence, stage: str) -> Numbers | None:
        times = {name: percentiles.p50 for name, percentiles in evidence.result.stages_ms.items()}
        if stage not in times or times[stage] <= least * sum(times.values()):
            return None
        return {
            "took": times[stage], "share": times[stage] / sum(times.values()),
            "floor": _against_floor(evidence, stage, times[stage]),
        }  # fmt: skip

    return look


def _of_first_sample(least: float) -> Callable[[Evidence, str], Numbers | None]:
    """Returns a `look` for stages that take more than this share of the first sample's latency."""

    def look(evidence: Evidence, stage: str) -> Numbers | None:
        waits = evidence.result.until_pcm_ms
        took, whole = waits.get(stage, 0.0), sum(waits.values())
        if took <= least * whole:
            return None
        return {
            "took": took, "share": took / whole,
            "floor": _against_floor(evidence, stage, evidence.result.stages_ms[stage].p50)
            if stage in evidence.result.stages_ms else "",
            "tokens": evidence.result.prompt_tokens,
        }  # fmt: skip

    return look


def _against_floor(evidence: Evidence, stage: str, took_ms: float) -> str:
    floor = evidence.floors.get(stage)
    if floor is None:
        return ""
    least_ms = floor.floor_us / 1e3
    return f", {took_ms / least_ms:.1f} times its floor of {least_ms:.0f} ms ({floor.reason})"


def _slower_than_speech(evidence: Evidence, stage: str) -> Numbers | None:
    rtf = evidence.result.rates.get("rtf")
    return {"rtf": rtf.p50} if rtf and rtf.p50 > 1 else None


def _stall(evidence: Evidence, stage: str) -> Numbers | None:
    stall = evidence.result.stall_ms.p50
    return {"stall": stall} if stall >= 1 else None  # shorter stalls are inaudible


def _unsteady(evidence: Evidence, stage: str) -> Numbers | None:
    pcm = evidence.result.latency_ms.get("first_pcm")
    if pcm is None or pcm.count < 3 or pcm.p90 <= 1.5 * pcm.p50:
        return None
    return {"p50": pcm.p50, "p90": pcm.p90}


def _cold(evidence: Evidence, stage: str) -> Numbers | None:
    first, usual = evidence.result.first_run_ms, evidence.result.latency_ms.get("first_pcm")
    load = first.get("load", 0.0)
    # if all graphs were loaded, the first run was slow for another reason
    if usual is None or load < 1 or first.get("first_pcm", 0.0) <= 2 * usual.p50:
        return None
    return {"first": first["first_pcm"], "p50": usual.p50, "load": load}


def _memory(evidence: Evidence, stage: str) -> Numbers | None:
    peak, there = evidence.result.memory.peak, evidence.machine.memory_bytes
    if not there or peak <= 0.8 * there:
        return None
    return {"peak": peak / 1e9, "there": there / 1e9, "share": peak / there}


RULES = (
    Rule(
        "host-bound", DECODING, _host_bound,
        "host-bound: {host:.0f} of {total:.0f} µs a step ({share:.0%}) pass outside the graph; "
        "a faster graph will not help much, a faster core will",
    ),
    Rule(
        "bandwidth-bound", DECODING, _bandwidth_bound,
        "bandwidth-bound: {graph:.0f} µs in the graph are {ratio:.2f} times the floor of "
        "{floor:.0f} µs ({megabytes:.1f} MB at {speed:.1f} GB/s measured); only fewer bytes help: "
        "f16 or quantized weights",
    ),
    Rule(
        "above-floor", DECODING, _above_floor,
        "{graph:.0f} µs in the graph are {ratio:.1f} times the measured floor of {floor:.0f} µs: "
        "many small operators, or a wrong number of threads; try --threads",
    ),
    Rule(
        "dit-bound", ("dit",), _of_all_work(0.5),
        "DiT-bound: {share:.0%} of all work, {took:.0f} ms{floor}; a cheaper --preset evaluates "
        "it less often",
    ),
    Rule(
        "vocoder-bound", ("vocoder",), _of_all_work(0.35),
        "vocoder-bound: {share:.0%} of all work, {took:.0f} ms{floor}; the same with every "
        "--preset",
    ),
    Rule(
        "encoder-bound", ENCODERS, _of_first_sample(0.3),
        "the first sample waits {took:.0f} ms ({share:.0%}) for this encoder{floor}; smaller "
        "pictures, shorter sounds and clips make it shorter, and a session hears while the user "
        "speaks",
    ),
    Rule(
        "prefill-bound", PREFILL, _of_first_sample(0.3),
        "the first sample waits {took:.0f} ms ({share:.0%}) for {tokens} prompt tokens{floor}; a "
        "session feeds only what is new, smaller pictures make fewer tokens",
    ),
    Rule(
        "preprocess-bound", ("preprocess",), _of_first_sample(0.2),
        "the first sample waits {took:.0f} ms ({share:.0%}) for decoding and resizing of media; "
        "resize them before",
    ),
    Rule(
        "slower-than-speech", ("reply",), _slower_than_speech,
        "real-time factor {rtf:.2f}: speech is made slower than it plays",
    ),
    Rule(
        "stall", ("reply",), _stall,
        "playback would stall for {stall:.0f} ms after its first sample",
    ),
    Rule(
        "unsteady", ("reply",), _unsteady,
        "unsteady: first PCM p90 {p90:.0f} ms, p50 {p50:.0f} ms; stop other work, fix the clocks",
    ),
    Rule(
        "cold-start", ("reply",), _cold,
        "cold start: the very first run took {first:.0f} ms to the first sample, {load:.0f} ms of "
        "it to load graphs, the median {p50:.0f} ms; ask something before the first user does",
    ),
    Rule(
        "memory", ("memory",), _memory,
        "{peak:.2f} GB at the peak are {share:.0%} of the {there:.2f} GB there are: the system "
        "will swap or end the process; export with --dtype f16, or use smaller pictures",
    ),
)  # fmt: skip


def _power_mode(machine: Machine) -> Numbers | None:
    """Looks for a faster power mode; not every Jetson has a MAXN."""
    faster = [n for n, name in machine.power_modes.items() if name.startswith(FASTEST)]
    present = machine.power_mode
    if not machine.is_jetson or present == UNKNOWN or present.startswith(FASTEST) or not faster:
        return None
    return {"mode": present, "name": machine.power_modes[faster[0]], "number": faster[0]}


def _governor(machine: Machine) -> Numbers | None:
    fixed = machine.governor in ("performance", UNKNOWN)
    return None if fixed else {
        "governor": machine.governor,
        "fix": "sudo jetson_clocks" if machine.is_jetson
        else "sudo cpupower frequency-set -g performance",
    }  # fmt: skip


MACHINE_RULES = (
    MachineRule(
        "power-mode", _power_mode,
        "power mode {mode}: this Jetson has {name}; `sudo nvpmodel -m {number}`, and measure again",
    ),
    MachineRule(
        "governor", _governor,
        "CPU governor {governor}: clocks follow the load, and short stages end before they rise; "
        "`{fix}` holds them up",
    ),
)  # fmt: skip
