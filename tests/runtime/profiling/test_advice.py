"""Each rule gives advice for numbers that call for it, and none otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from omnijet.runtime.profiling.advice import ANY, MACHINE_RULES, RULES, advise, advise_machine
from omnijet.runtime.profiling.floor import Floor
from omnijet.runtime.profiling.machine import Machine
from omnijet.runtime.profiling.measure import Result
from omnijet.runtime.profiling.percentiles import Percentiles
from omnijet.runtime.profiling.resident import Resident
from tests.runtime.profiling.profiles import FLOORS, MACHINE, flat, result

VOCODER = {"vocoder": Floor("operations", 1e9, 1e11)}  # 10 ms


def rules(outcome: Result, **floors: Floor) -> list[str]:
    return [a.rule for a in advise("text", outcome, {**FLOORS, **floors}, MACHINE)]


def message(rule: str, outcome: Result, **floors: Floor) -> str:
    (said,) = (a for a in advise("text", outcome, {**FLOORS, **floors}, MACHINE) if a.rule == rule)
    return said.message


@pytest.mark.parametrize(
    ("graph_us", "host_us", "rule"),
    [
        (110, 10, "bandwidth-bound"),
        (400, 10, "above-floor"),
        (200, 200, "host-bound"),
        (200, 10, ""),
    ],
)
def test_rules_of_a_step(graph_us: float, host_us: float, rule: str) -> None:
    assert rules(result(graph_us=graph_us, host_us=host_us)) == ([rule] if rule else [])


def test_a_step_that_computes_is_not_bound_by_bandwidth() -> None:
    computes = {"thinker_decode": Floor("operations", 1e7, 1e11)}  # 100 µs too
    assert "bandwidth-bound" not in rules(result(graph_us=110, host_us=10), **computes)
    few = result(graph_us=110, host_us=10)
    few.steps["thinker_decode"] = replace(few.steps["thinker_decode"], total_us=flat(120, 4))
    assert rules(few) == []  # 4 steps say nothing


def stages(**ms: float) -> Result:
    return replace(result(graph_us=200), steps={}, stages_ms={k: flat(v) for k, v in ms.items()})


def waits(**ms: float) -> Result:
    """Returns a result whose stages take this long; the first sample waits for each of them."""
    return replace(stages(**ms), until_pcm_ms=ms)


@pytest.mark.parametrize(
    ("rule", "calls", "silent"),
    [
        ("dit-bound", stages(dit=51, talker_decode=49), stages(dit=49, talker_decode=51)),
        ("vocoder-bound", stages(vocoder=36, x=64), stages(vocoder=34, x=66)),
        ("encoder-bound", waits(vision_encoder=31, x=69), waits(vision_encoder=29, x=71)),
        ("encoder-bound", waits(audio_encoder=31, x=69), waits(audio_encoder=29, x=71)),
        ("prefill-bound", waits(thinker_prefill=31, x=69), waits(thinker_prefill=29, x=71)),
        ("prefill-bound", waits(talker_prefill=31, x=69), waits(talker_prefill=29, x=71)),
        ("preprocess-bound", waits(preprocess=21, x=79), waits(preprocess=19, x=81)),
        (
            "slower-than-speech",
            replace(stages(x=1), rates={"rtf": flat(1.1)}),
            replace(stages(x=1), rates={"rtf": flat(0.9)}),
        ),
        (
            "stall",
            replace(stages(x=1), stall_ms=flat(3.0)),
            replace(stages(x=1), stall_ms=flat(0.9)),
        ),
        (
            "unsteady",
            replace(stages(x=1), latency_ms={"first_pcm": Percentiles.of([10, 10, 40, 40])}),
            replace(stages(x=1), latency_ms={"first_pcm": Percentiles.of([10, 11, 11, 12])}),
        ),
        (
            "cold-start",
            replace(stages(x=1), first_run_ms={"first_pcm": 201.0, "load": 90.0}),
            replace(stages(x=1), first_run_ms={"first_pcm": 199.0, "load": 90.0}),
        ),
        (
            "memory",
            replace(stages(x=1), memory=Resident(0, 0, 6_500_000_000, "scenario")),
            replace(stages(x=1), memory=Resident(0, 0, 6_300_000_000, "scenario")),
        ),
    ],
)
def test_rules_of_a_scenario(rule: str, calls: Result, silent: Result) -> None:
    assert rule in rules(calls) and rule not in rules(silent)


def test_a_message_has_its_numbers() -> None:
    slow = stages(vocoder=40, x=60)
    assert "40% of all work, 40 ms, 4.0 times its floor of 10 ms (1 GFLOP at 100" in message(
        "vocoder-bound", slow, **VOCODER
    )
    assert "40 ms; " in message("vocoder-bound", slow)  # no floor, no ratio
    assert "40 ms (40%) for 10 prompt tokens" in message(
        "prefill-bound", waits(thinker_prefill=40, x=60)
    )
    cold = replace(stages(x=1), first_run_ms={"first_pcm": 300.0, "load": 90.0})
    assert "300 ms to the first sample, 90 ms of it to load graphs, the median 100 ms" in message(
        "cold-start", cold
    )
    full = replace(stages(x=1), memory=Resident(0, 0, 7_200_000_000, "scenario"))
    assert "7.20 GB at the peak are 90% of the 8.00 GB" in message("memory", full)


def test_a_slow_first_run_with_all_graphs_loaded_is_not_cold() -> None:
    warm = replace(stages(x=1), first_run_ms={"first_pcm": 300.0, "load": 0.01})
    assert "cold-start" not in rules(warm)


def test_nothing_is_said_of_a_silent_reply() -> None:
    silent = replace(stages(x=1), latency_ms={}, rates={}, until_pcm_ms={})
    assert rules(silent) == []


ORIN = replace(
    MACHINE, jetson_release="# R36", power_mode="15W (mode 0)",
    power_modes={"0": "15W", "2": "MAXN_SUPER"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "changes", "speaks"),
    [
        ("power-mode", {}, True),
        ("power-mode", {"power_mode": "MAXN_SUPER (mode 2)"}, False),
        ("power-mode", {"power_modes": {"0": "15W", "1": "7W"}}, False),  # it has no faster one
        ("power-mode", {"power_mode": "unknown"}, False),
        ("governor", {"governor": "schedutil"}, True),
        ("governor", {"governor": "performance, schedutil"}, True),
        ("governor", {"governor": "performance"}, False),
        ("governor", {"governor": "unknown"}, False),
    ],
)
def test_rules_of_the_machine(rule: str, changes: dict[str, Any], speaks: bool) -> None:
    machine: Machine = replace(ORIN, **changes)
    assert (rule in [a.rule for a in advise_machine(machine)]) == speaks


def test_a_machine_is_told_its_own_way_out() -> None:
    mode, governor = advise_machine(replace(ORIN, governor="schedutil"))
    assert "this Jetson has MAXN_SUPER; `sudo nvpmodel -m 2`" in mode.message
    assert mode.scenario == ANY and "jetson_clocks" in governor.message
    (governor,) = advise_machine(replace(MACHINE, governor="powersave"))
    assert "cpupower" in governor.message and "jetson" not in governor.message


def test_no_rule_is_without_a_test() -> None:
    tested = {
        "host-bound", "bandwidth-bound", "above-floor", "dit-bound", "vocoder-bound",
        "encoder-bound", "prefill-bound", "preprocess-bound", "slower-than-speech", "stall",
        "unsteady", "cold-start", "memory", "power-mode", "governor",
    }  # fmt: skip
    assert {rule.name for rule in (*RULES, *MACHINE_RULES)} == tested
