"""Runs a scenario and times it at the reader: a sample counts when the reader has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from time import perf_counter
from typing import Any

from omnijet.runtime.leftovers import temporary_folder
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.distribution import Histogram
from omnijet.runtime.profiling.inputs import Inputs
from omnijet.runtime.profiling.percentiles import Percentiles
from omnijet.runtime.profiling.resident import Resident
from omnijet.runtime.profiling.scenarios import Scenario
from omnijet.runtime.profiling.trace import Track
from omnijet.runtime.talk.clock import Span, StepTimes
from omnijet.runtime.talk.reply import PcmChunk, Reply

# an instant belongs to the first of these stages that is active, because the sample waits for it;
# the Talker's steps contain the Thinker's
ORDER = (
    "vocoder", "dit", "talker_prefill", "thinker_decode", "talker_decode", "thinker_prefill",
    "vision_encoder", "audio_encoder", "load", "preprocess",
)  # fmt: skip
SEED = 0

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """One reply; latencies are in milliseconds from the end of the user's input."""

    reply: Reply
    latency_ms: dict[str, float]  # first_text, first_code, first_pcm, whole
    stall_ms: float  # the longest wait of playback after its first sample

    def track(self, name: str) -> Track:
        """Returns the run as a track of the trace."""
        return Track(name, tuple(self.reply.spans), self.latency_ms)


@dataclass(frozen=True, slots=True)
class StepPercentiles:
    """Microseconds per step: in total, in the graph, and on the host.

    `histogram` counts the totals.
    """

    total_us: Percentiles
    graph_us: Percentiles
    host_us: Percentiles
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class Result:
    """The measurements of a scenario over its counted runs.

    Attributes:
        ended_early: whether the context was full before the reply had the scenario's length.
        first_run_ms: latencies and loading time of the very first run, warm-up or not.
        until_pcm_ms: each stage's share of the first-PCM latency, "other" included, as medians
            over the runs. The shares of one run add up; their medians do so nearly.
        rates: text_tokens_per_s, tokens_per_step (`Reply`), codes_per_s, and rtf, the time of the
            reply over its duration.
        stall_ms: see `Run`.
        memory: resident memory around all runs, warm-up included.
    """

    inputs: Inputs
    prompt_tokens: int
    text_tokens: int
    codes: int
    speech_s: float
    ended_early: bool
    first_run_ms: dict[str, float]
    latency_ms: dict[str, Percentiles]
    until_pcm_ms: dict[str, float]
    stages_ms: dict[str, Percentiles]
    steps: dict[str, StepPercentiles]
    rates: dict[str, Percentiles]
    stall_ms: Percentiles
    memory: Resident

    def summary(self) -> str:
        """Returns the sizes of question and reply in words."""
        media = f" ({self.inputs})" if str(self.inputs) else ""
        early = "; the context was full before the limit" if self.ended_early else ""
        return (
            f"{self.prompt_tokens} prompt tokens{media}, {self.text_tokens} text tokens, "
            f"{self.codes} codes, {self.speech_s:.2f} s of speech{early}"
        )


def measure_one(omni: Omni, scenario: Scenario, messages: Messages, preset: str) -> Run:
    """Runs a scenario once and reads the stream as it arrives."""
    began = perf_counter()
    arrivals: list[tuple[float, float]] = []  # ms of arrival, ms of sound before it
    options = scenario.options(omni.model.dims)
    with omni.stream(messages, preset=preset, seed=SEED, **options) as events:
        for event in events:
            if isinstance(event, PcmChunk) and event.samples.size:
                now = 1e3 * (perf_counter() - began)
                arrivals.append((now, 1e3 * event.start_sample / event.sample_rate_hz))
        reply = events.reply
    whole = 1e3 * (perf_counter() - began)
    latency = dict(reply.latency_ms)
    latency.pop("first_pcm", None)
    if arrivals:
        latency["first_pcm"] = arrivals[0][0]
    latency["whole"] = whole
    return Run(reply, latency, stall_ms(arrivals))


def stall_ms(arrivals: Sequence[tuple[float, float]]) -> float:
    """Returns the longest wait of a listener who starts to play at the first chunk.

    Args:
        arrivals: of each chunk, its arrival and the duration of the sound before it, in ms.
    """
    if not arrivals:
        return 0.0
    start = arrivals[0][0]
    return max(0.0, *(came - start - before for came, before in arrivals))


def measure(
    omni: Omni,
    scenario: Scenario,
    runs: int,
    warmup: int,
    preset: str,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Result, list[Run]]:
    """Runs a scenario `warmup` times uncounted, and then `runs` times."""
    taken = []
    with temporary_folder("omnijet-profile-") as folder:
        messages = scenario.messages(folder)
        inputs = Inputs.of(omni, messages)
        memory = Resident.watch()
        for _ in range(warmup + runs):
            taken.append(measure_one(omni, scenario, messages, preset))
            progress()
    counted = taken[warmup:]
    return summarize(scenario, inputs, taken[0], counted, memory()), counted


def summarize(
    scenario: Scenario, inputs: Inputs, first: Run, runs: Sequence[Run], memory: Resident
) -> Result:
    """Returns the percentiles over runs."""
    replies = [run.reply for run in runs]
    texts = [len(reply.text_ids) for reply in replies]
    codes = [len(reply.codes) for reply in replies]
    shares = [until(run.reply.spans, run.latency_ms.get("first_pcm", 0.0)) for run in runs]
    is_silent = replies[0].voice is None
    return Result(
        inputs=inputs,
        prompt_tokens=replies[0].prompt_tokens,
        text_tokens=median_low(texts),
        codes=median_low(codes),
        speech_s=median_low([reply.audio.size / reply.sample_rate_hz for reply in replies]),
        ended_early=min(texts) < scenario.text_tokens
        or (not is_silent and min(codes) < scenario.codes - 1),
        first_run_ms={**first.latency_ms, "load": first.reply.timings_ms.get("load", 0.0)},
        latency_ms=_percentiles([run.latency_ms for run in runs]),
        until_pcm_ms={name: percentiles.p50 for name, percentiles in _percentiles(shares).items()},
        stages_ms=_percentiles([reply.timings_ms for reply in replies]),
        steps=_steps([reply.steps for reply in replies]),
        rates=_percentiles([_rates(run) for run in runs]),
        stall_ms=Percentiles.of([run.stall_ms for run in runs]),
        memory=memory,
    )


def until(spans: Sequence[Span], end_ms: float) -> dict[str, float]:
    """Divides [0, end_ms] among the stages; where several are active, by `ORDER`."""
    rank = {stage: place for place, stage in enumerate(ORDER)}
    edges = [(span.begin_ms, 1, span.stage) for span in spans if span.begin_ms < end_ms]
    edges += [
        (min(span.end_ms, end_ms), -1, span.stage) for span in spans if span.begin_ms < end_ms
    ]
    active: dict[str, int] = {}
    shares: dict[str, float] = {}
    before = 0.0
    for at, change, stage in [*sorted(edges), (end_ms, 0, "other")]:
        if at > before:
            busy = [name for name, count in active.items() if count]
            owner = min(busy, key=lambda name: rank.get(name, len(rank)), default="other")
            shares[owner] = shares.get(owner, 0.0) + at - before
            before = at
        active[stage] = active.get(stage, 0) + change
    return shares


def _percentiles(samples: Sequence[Mapping[str, float]]) -> dict[str, Percentiles]:
    names = dict.fromkeys(name for sample in samples for name in sample)
    return {name: Percentiles.of([s[name] for s in samples if name in s]) for name in names}


def _rates(run: Run) -> dict[str, float]:
    rates, reply = {}, run.reply
    for rate, stage in (("text_tokens_per_s", "thinker_decode"), ("codes_per_s", "talker_decode")):
        if reply.timings_ms.get(stage):
            rates[rate] = 1e3 * len(reply.steps[stage].total_us) / reply.timings_ms[stage]
    if reply.text_ids:
        rates["tokens_per_step"] = reply.tokens_per_step
    if reply.audio.size:
        rates["rtf"] = run.latency_ms["whole"] * reply.sample_rate_hz / reply.audio.size / 1e3
    return rates


def _steps(runs: Sequence[Mapping[str, StepTimes]]) -> dict[str, StepPercentiles]:
    found = {}
    for stage in dict.fromkeys(stage for steps in runs for stage in steps):
        pairs = [
            (total, graph)
            for steps in runs
            if stage in steps
            for total, graph in zip(steps[stage].total_us, steps[stage].graph_us, strict=True)
            if graph > 0  # the first token comes from the prefill's logits, without a decode call
        ]
        if pairs:
            found[stage] = StepPercentiles(
                Percentiles.of([total for total, _ in pairs]),
                Percentiles.of([graph for _, graph in pairs]),
                Percentiles.of([total - graph for total, graph in pairs]),
                Histogram.of([total for total, _ in pairs]),
            )
    return found
