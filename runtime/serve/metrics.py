"""What a server measures of itself, as Prometheus reads it.

No label holds a client's word: kinds, ends and reasons are those of this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args
from weakref import ref

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import Kind, Refusal, TurnRecord
from omnijet.runtime.profiling.resident import memory_bytes
from omnijet.runtime.serve.sensors import Sensors, find_sensors
from omnijet.runtime.talk.reply import FinishReason

OTHER = "other"
KINDS = get_args(Kind)
REASONS = get_args(Refusal)
ENDS = (*get_args(FinishReason), "time", "refused", "failed")

_LATENCY_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
_FACTORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1, 1.25, 1.5, 2, 4)
_RATES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4)


class Metrics:
    """The figures of one server, in a registry of its own.

    Threads: any thread may call any method; none blocks for long.

    Args:
        sensors: what is read of the GPU when the figures are asked for; by default what this
            machine has.
    """

    def __init__(self, sensors: Sensors | None = None) -> None:
        self._registry = CollectorRegistry()
        self._turns = Counter(
            "omnijet_turns", "Turns that ended.", ("kind", "finish"), registry=self._registry
        )
        self._refused = Counter(
            "omnijet_refused", "Requests that there was no room for.", ("reason",),
            registry=self._registry,
        )  # fmt: skip
        self._tokens = Counter(
            "omnijet_tokens", "Tokens of turns; reused are those that a cache held already.",
            ("what",), registry=self._registry,
        )  # fmt: skip
        self._audio = Counter("omnijet_audio_seconds", "Sound made.", registry=self._registry)
        self._first_pcm = self._histogram(
            "omnijet_first_pcm_seconds", "From the asking to the first sound.", _LATENCY_S
        )
        self._speech_end = self._histogram(
            "omnijet_speech_end_to_pcm_seconds", "From the end of speech to the first sound.",
            _LATENCY_S,
        )  # fmt: skip
        self._first_text = self._histogram(
            "omnijet_first_text_seconds", "From the asking to the first text.", _LATENCY_S
        )
        self._waited = self._histogram(
            "omnijet_queue_wait_seconds", "What turns waited for a place.", (0.001, *_LATENCY_S)
        )
        self._factor = self._histogram(
            "omnijet_real_time_factor",
            "Seconds of a turn, the waiting left out, for each second of its sound.", _FACTORS,
        )  # fmt: skip
        self._prefill = self._histogram(
            "omnijet_prefill_tokens_per_second", "Tokens of the prompt that were fed.", _RATES
        )
        self._decode = self._histogram(
            "omnijet_decode_tokens_per_second", "Tokens of text.", _RATES
        )
        self._now = _Now(find_sensors() if sensors is None else sensors)
        self._registry.register(self._now)
        for reason in REASONS:
            self._refused.labels(reason)  # a figure that is 0 is told, too
        for kind in KINDS:
            self._turns.labels(kind, "stop")

    def watch(self, assistant: Assistant) -> None:
        """Observes the turns of an assistant from now on, and tells its load."""
        self._now.assistant = ref(assistant)
        assistant.add_observer(self.observe)

    def observe(self, record: TurnRecord) -> None:
        """Notes a turn that ended."""
        kind = record.kind if record.kind in KINDS else OTHER
        self._turns.labels(kind, _end(record)).inc()
        self._waited.observe(record.queued_ms / 1e3)
        if record.refused is not None:
            self.refused(record.refused)
            return
        for histogram, name in (
            (self._first_text, "first_text"),
            (self._first_pcm, "first_pcm"),
            (self._speech_end, "speech_end"),
        ):
            if (found := record.latency_ms.get(name)) is not None:
                histogram.observe(found / 1e3)
        self._count(record)

    def refused(self, reason: str) -> None:
        """Notes a request that there was no room for. `observe` notes refused turns."""
        self._refused.labels(reason if reason in REASONS else OTHER).inc()

    def render(self) -> tuple[bytes, str]:
        """Returns all figures, and the type of this content."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _count(self, record: TurnRecord) -> None:
        fed = record.prompt_tokens - record.reused_tokens
        for what, count in (
            ("prompt", record.prompt_tokens),
            ("reused", record.reused_tokens),
            ("text", record.text_tokens),
            ("codes", record.codes),
        ):
            self._tokens.labels(what).inc(count)
        self._audio.inc(record.audio_s)
        for histogram, count, stage in (
            (self._prefill, fed, "thinker_prefill"),
            (self._decode, record.text_tokens, "thinker_decode"),
        ):
            if count > 0 and (spent := record.timings_ms.get(stage, 0.0)) > 0:
                histogram.observe(count / spent * 1e3)
        if record.audio_s > 0:
            self._factor.observe((record.total_ms - record.queued_ms) / 1e3 / record.audio_s)

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, words, buckets=buckets, registry=self._registry)


class _Now(Collector):
    """What is read when the figures are asked for."""

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors
        self.assistant: ref[Assistant] | None = None

    def collect(self) -> Iterator[Metric]:
        yield from self._load()
        resident, _ = memory_bytes()
        if resident:
            yield GaugeMetricFamily(
                "process_resident_memory_bytes", "Memory of this process.", resident
            )
        celsius = GaugeMetricFamily(
            "omnijet_gpu_temperature_celsius", "Of the GPU.", labels=("sensor",)
        )
        watts = GaugeMetricFamily("omnijet_power_watts", "Of a rail.", labels=("sensor",))
        for one in self._sensors():
            if one.celsius is not None:
                celsius.add_metric((one.sensor,), one.celsius)
            if one.watts is not None:
                watts.add_metric((one.sensor,), one.watts)
        yield from (family for family in (celsius, watts) if family.samples)

    def _load(self) -> Iterator[Metric]:
        assistant = None if self.assistant is None else self.assistant()
        if assistant is None:
            return
        load = assistant.load
        yield GaugeMetricFamily("omnijet_queue_length", "Turns that wait.", load.waiting)
        yield GaugeMetricFamily("omnijet_turns_running", "Turns that are made.", load.running)
        yield CounterMetricFamily(
            "omnijet_sessions_refused", "Conversations that there was no room for.", load.refused
        )
        sessions = GaugeMetricFamily(
            "omnijet_sessions", "Conversations that are open, or kept.", labels=("state",)
        )
        sessions.add_metric(("open",), load.sessions)
        sessions.add_metric(("kept",), load.pooled)
        yield sessions


def _end(record: TurnRecord) -> str:
    if record.refused is not None:
        return "refused"
    if record.error is not None:
        return "failed"
    return next((end for end in ENDS if end == record.finish_reason), OTHER)
