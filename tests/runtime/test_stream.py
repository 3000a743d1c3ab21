"""Streamed is what offline is; slow, dying and cancelling readers harm nobody."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from runtime.errors import OmnijetError
from runtime.pipeline import Omni
from runtime.reply import PcmChunk, TextDelta
from runtime.synthesis import PRESETS
from tests.prompts import text, user

QUESTION = user(text("Who are you, and what can you see and hear?"))
LIMITS = {"seed": 3, "greedy": True, "max_text_tokens": 12, "max_codes": 80}


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("omnijet")]


def snr_db(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(wanted**2) / np.mean((got - wanted) ** 2)))


@pytest.mark.parametrize("preset", PRESETS)
def test_streamed_is_offline(omni: Omni, preset: str) -> None:
    offline = omni.generate(QUESTION, **LIMITS)
    assert len(offline.codes) == 79 and len(offline.text_ids) == 12
    with omni.stream(QUESTION, preset=preset, **LIMITS) as stream:
        events = list(stream)
        reply = stream.reply
    assert not workers()
    assert (reply.text, reply.text_ids, reply.codes) == (
        offline.text, offline.text_ids, offline.codes,
    )  # fmt: skip
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert "".join(delta.text for delta in deltas) == offline.text
    assert [token for delta in deltas for token in delta.ids] == offline.text_ids
    chunks = [event for event in events if isinstance(event, PcmChunk)]
    ends = np.cumsum([0, *(chunk.samples.size for chunk in chunks)])
    assert len(chunks) > 1 and [chunk.start_sample for chunk in chunks] == ends[:-1].tolist()
    assert reply.audio.shape == offline.audio.shape
    assert np.isfinite(reply.audio).all()
    if preset == "exact":
        assert snr_db(reply.audio, offline.audio) > 40
    assert 0 < reply.latency_ms["first_text"] < reply.latency_ms["first_code"]
    assert reply.latency_ms["first_code"] < reply.latency_ms["first_pcm"]


def test_sound_comes_before_the_last_code(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
    next(event for event in stream if isinstance(event, PcmChunk))
    assert len(stream.reply.codes) < 2999
    stream.cancel()


def test_a_slow_reader_loses_nothing(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.stream.EVENTS", 1)
    monkeypatch.setattr("runtime.stream.CODES", 2)
    offline = omni.generate(QUESTION, **LIMITS)
    stream = omni.stream(QUESTION, preset="fast", **LIMITS)
    for _ in stream:
        time.sleep(0.02)
    assert stream.reply.codes == offline.codes
    assert stream.reply.audio.size == 480 * len(offline.codes)


def test_a_reader_that_dies_holds_nobody(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    del stream
    gc.collect()
    assert not workers()


def test_cancel_from_another_thread_ends_the_reader(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
    timer = threading.Timer(0.2, stream.cancel)
    timer.start()
    events = list(stream)
    timer.join()
    assert not workers() and len(stream.reply.codes) < 2999
    assert sum(event.samples.size for event in events if isinstance(event, PcmChunk)) == (
        stream.reply.audio.size
    )


def test_text_alone(omni: Omni) -> None:
    offline = omni.generate(QUESTION, speech=False, max_text_tokens=9)
    stream = omni.stream(QUESTION, speech=False, max_text_tokens=9)
    assert "".join(event.text for event in stream) == offline.text
    assert stream.reply.audio.size == 0 and stream.reply.voice is None


def test_faults(omni: Omni) -> None:
    with pytest.raises(OmnijetError, match="no preset 'good'"):
        omni.stream(QUESTION, preset="good")
    with pytest.raises(OmnijetError, match="did you mean 'greedy'"):
        omni.stream(QUESTION, gredy=True)
    with pytest.raises(OmnijetError, match="no voice"):
        omni.stream(QUESTION, voice="Nobody")
    broken = user({"type": "image", "image": np.zeros((2, 2, 9, 9), np.uint8)})
    stream = omni.stream(broken)
    with pytest.raises(OmnijetError):
        list(stream)
    assert not workers() and list(stream) == []
