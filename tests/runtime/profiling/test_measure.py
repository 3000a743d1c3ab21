"""A streamed reply is timed at its reader."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.measure import measure, measure_one, stall_ms, until
from omnijet.runtime.profiling.scenarios import SCENARIOS, Scenario
from omnijet.runtime.talk.clock import Span
from omnijet.runtime.talk.reply import PcmChunk, Reply, TextDelta

PAUSE_S = 0.02


class Events:
    """Text, an empty chunk, then sound: each after a pause."""

    reply = Reply(
        "", [1], [2], np.zeros(480, np.float32), 24_000, np.empty((80, 0), np.float32), 3, None, 0,
        {}, {"first_text": 1.0, "first_pcm": 0.0},
    )  # fmt: skip

    def __iter__(self) -> Iterator[Any]:
        for event in (
            TextDelta("a", (1,)),
            PcmChunk(np.empty(0, np.float32), 0, 24_000),
            PcmChunk(np.zeros(240, np.float32), 0, 24_000),
            PcmChunk(np.zeros(240, np.float32), 240, 24_000),
        ):
            time.sleep(PAUSE_S)
            yield event


class Streaming:
    def __init__(self, dims: ModelDims) -> None:
        self.model = SimpleNamespace(dims=dims)
        self.options: dict[str, Any] = {}

    @contextmanager
    def stream(self, messages: Any, **options: Any) -> Iterator[Events]:
        self.options = options
        yield Events()


def test_the_first_sample_counts_when_the_reader_holds_it(omni: Omni) -> None:
    streaming = Streaming(omni.model.dims)
    run = measure_one(cast(Omni, streaming), SCENARIOS["text"], [], "fast")
    assert streaming.options["preset"] == "fast" and streaming.options["max_codes"] == 101
    pause = 1e3 * PAUSE_S
    assert 3 * pause <= run.latency_ms["first_pcm"] < run.latency_ms["whole"] - 0.9 * pause
    assert run.latency_ms["first_text"] == 1.0  # the turn's own clock
    assert run.stall_ms >= 0.9 * pause - 10  # the second chunk follows 10 ms of sound


def test_a_listener_waits_for_the_latest_chunk() -> None:
    assert stall_ms([]) == stall_ms([(300.0, 0.0), (400.0, 200.0)]) == 0
    assert stall_ms([(300.0, 0.0), (600.0, 200.0), (650.0, 400.0)]) == 100


def test_an_instant_belongs_to_what_the_sample_waits_for() -> None:
    spans = [
        Span("talker_decode", 10, 40), Span("thinker_decode", 20, 30), Span("dit", 35, 50),
        Span("vocoder", 55, 90),
    ]  # fmt: skip
    shares = until(spans, 60)
    assert shares == {
        "other": 15,
        "talker_decode": 15,
        "thinker_decode": 10,
        "dit": 15,
        "vocoder": 5,
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(["dit", "vocoder", "x"]), st.floats(0, 50), st.floats(0, 50))
    ),
    st.floats(0, 60),
)
def test_shares_add_up(spans: list[tuple[str, float, float]], end: float) -> None:
    made = [Span(stage, begin, begin + took) for stage, begin, took in spans]
    assert sum(until(made, end).values()) == pytest.approx(end)


def test_a_reply_is_as_long_as_asked_of_a_model_that_would_end_it(
    trained: tuple[Path, Path],
) -> None:
    """The scenario's length counts: the model's own reply would be a handful of tokens."""
    omni = Omni.open(trained[1], backend=OrtBackend(threads=1))
    short = Scenario("short", "text", 24, 51)
    found, runs = measure(omni, short, 2, 1, "fast")
    assert (found.text_tokens, found.codes, found.speech_s) == (24, 50, 1.0)
    assert not found.ended_early and len(runs) == 2
    assert not set(runs[0].reply.text_ids) & set(omni.model.dims.tokens.eos)
    assert found.first_run_ms["load"] > 0 and found.memory.peak >= found.memory.before > 0
    # the last token is never fed; a step may take guesses that came true along
    fed = sum(round(23 / run.reply.tokens_per_step) for run in runs)
    assert found.steps["thinker_decode"].total_us.count == fed
    assert sum(found.until_pcm_ms.values()) == pytest.approx(
        found.latency_ms["first_pcm"].p50, rel=0.2
    )
