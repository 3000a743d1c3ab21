"""Made-up results and profiles that the profiler's tests share."""

from __future__ import annotations

from omnijet.runtime.profiling.advice import advise
from omnijet.runtime.profiling.distribution import Histogram
from omnijet.runtime.profiling.floor import Floor
from omnijet.runtime.profiling.inputs import Inputs
from omnijet.runtime.profiling.machine import NOT_A_JETSON, UNKNOWN, Machine
from omnijet.runtime.profiling.measure import Result, StepPercentiles
from omnijet.runtime.profiling.percentiles import Percentiles
from omnijet.runtime.profiling.record import BundleFacts, Profile, Settings
from omnijet.runtime.profiling.resident import Resident
from omnijet.runtime.profiling.trace import Track
from omnijet.runtime.talk.clock import Span

MACHINE = Machine(
    device="d",
    processor="p",
    cores=2,
    system="s",
    jetson_release=NOT_A_JETSON,
    power_mode=UNKNOWN,
    power_modes={},
    governor=UNKNOWN,
    cpu_mhz=UNKNOWN,
    gpu_mhz=UNKNOWN,
    emc_mhz=UNKNOWN,
    memory_bytes=8_000_000_000,
    versions={"numpy": "2"},
)
FLOORS = {"thinker_decode": Floor("bytes", 1e6, 1e10)}  # 100 µs
TRACK = Track(
    "text, run 1",
    (
        Span("preprocess", 0, 5), Span("thinker_prefill", 5, 20), Span("thinker_decode", 20, 25),
        Span("talker_decode", 26, 40), Span("dit", 40, 80), Span("vocoder", 80, 100),
    ),
    {"first_text": 21.0, "first_code": 26.5, "first_pcm": 100.0, "whole": 101.0},
)  # fmt: skip


def flat(value: float, count: int = 5) -> Percentiles:
    return Percentiles(count, value, value, value, value, value)


def result(pcm: float = 100.0, graph_us: float = 80.0, host_us: float = 20.0) -> Result:
    total = graph_us + host_us
    step = StepPercentiles(flat(total), flat(graph_us), flat(host_us), Histogram.of([total] * 5))
    return Result(
        inputs=Inputs((), ()),
        prompt_tokens=10,
        text_tokens=5,
        codes=8,
        speech_s=0.16,
        ended_early=False,
        first_run_ms={},
        latency_ms={"first_pcm": flat(pcm)},
        until_pcm_ms={"dit": 0.2 * pcm, "other": 0.8 * pcm},
        stages_ms={"dit": flat(20.0), "thinker_decode": flat(30.0)},
        steps={"thinker_decode": step},
        rates={"rtf": flat(0.5), "codes_per_s": flat(200.0)},
        stall_ms=flat(0.0),
        memory=Resident(60_000_000, 80_000_000, 100_000_000, "scenario"),
    )


def profile(outcome: Result, name: str = "text") -> Profile:
    settings = Settings(5, 1, 0, "exact", "onnxruntime-cpu")
    said = tuple(advise(name, outcome, FLOORS, MACHINE))
    return Profile(
        MACHINE, BundleFacts("b", "f32", "0" * 64), settings, {name: outcome}, {name: FLOORS}, said
    )
