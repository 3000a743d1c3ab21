"""Streamed is what offline is; slow, dying and cancelling readers harm nobody."""

from __future__ import annotations

import faulthandler
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.ort_graph import OrtGraph
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.speech.vocoder import EXACT_CONTEXT
from omnijet.runtime.talk.reply import PcmChunk, TextDelta
from omnijet.runtime.talk.stream import Stream
from tests.prompts import text, user
from tests.threads import new_threads

QUESTION = user(text("Who are you, and what can you see and hear?"))
BROKEN = user({"type": "image", "image": np.zeros((2, 2, 9, 9), np.uint8)})
LIMITS = {"seed": 3, "greedy": True, "max_text_tokens": 12, "max_codes": 80}


HANGS_AFTER = 180.0  # seconds; then the process ends and says where it stood


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    """What these tests are afraid of would hold them up for ever."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def snr_db(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(wanted**2) / np.mean((got - wanted) ** 2)))


@pytest.mark.parametrize("preset", PRESETS)
def test_streamed_is_offline(omni: Omni, preset: str) -> None:
    offline = omni.generate(QUESTION, **LIMITS)
    assert len(offline.codes) == 79 and len(offline.text_ids) == 12
    with omni.stream(QUESTION, preset=preset, **LIMITS) as stream:
        events = list(stream)
        reply = stream.reply
    assert not new_threads()
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


def test_nobody_writes_while_the_first_sound_is_made(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="exact", **LIMITS)
    list(stream)
    spans = stream.reply.spans
    begin = min(span.begin_ms for span in spans if span.stage == "dit")
    end = min(span.end_ms for span in spans if span.stage == "vocoder")
    written = [span for span in spans if span.stage.endswith("_decode")]
    assert end > begin and written
    assert not [span for span in written if begin < span.begin_ms < end]
    assert sum(span.begin_ms >= end for span in written) > 40  # of 79 codes 24 came before


def test_a_first_window_that_makes_no_sound_holds_nobody(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its 24 frames are all context."""
    silent = replace(PRESETS["fast"], context=EXACT_CONTEXT, guess=False)
    monkeypatch.setitem(PRESETS, "fast", silent)
    stream = omni.stream(QUESTION, preset="fast", **LIMITS)
    assert sum(e.samples.size for e in stream if isinstance(e, PcmChunk)) == 480 * 79


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels that are full at once."""
    monkeypatch.setattr("omnijet.runtime.talk.stream.EVENTS", 1)
    monkeypatch.setattr("omnijet.runtime.talk.stream.CODES", 2)


def stalled(stream: Stream) -> int:
    """Waits until nothing moves any more; codes that there are then."""
    seen, codes = -1, 0
    while codes > seen or not codes:
        seen = codes
        time.sleep(0.3)
        codes = len(stream.reply.codes)
    return codes


def test_a_slow_reader_loses_nothing(omni: Omni, narrow: None) -> None:
    prompt = omni.stream(QUESTION, preset="fast", **LIMITS)
    wanted = list(prompt)
    slow = omni.stream(QUESTION, preset="fast", **LIMITS)
    got = []
    for event in slow:
        got.append(event)
        time.sleep(0.02)
    assert len(slow.reply.codes) == 79 and slow.reply.codes == prompt.reply.codes
    for kind in (TextDelta, PcmChunk):  # each in its order; how they mix is a matter of time
        ours, theirs = ([e for e in events if isinstance(e, kind)] for events in (got, wanted))
        assert len(ours) == len(theirs) > 1
        assert [repr(event) for event in ours] == [repr(event) for event in theirs]
    assert slow.reply.audio.tobytes() == prompt.reply.audio.tobytes()
    assert slow.reply.audio.size == 480 * 79


def test_a_reader_that_stops_makes_the_others_wait(omni: Omni, narrow: None) -> None:
    """And nobody else: the model goes on for other streams."""
    waiting = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
    next(event for event in waiting if isinstance(event, PcmChunk))
    assert stalled(waiting) < 200  # the window after the one that waits, and what is on the way
    others: list[int] = []

    def ask() -> None:
        reply = omni.stream(QUESTION, preset="fast", **LIMITS)
        others.extend(event.samples.size for event in reply if isinstance(event, PcmChunk))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(30)
    assert sum(others) == 480 * 79
    waiting.cancel()
    assert not new_threads()


def test_a_reader_that_drops_the_stream_holds_nobody(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    del stream
    assert not new_threads()


def test_a_reader_that_dies_in_its_thread_holds_nobody(
    omni: Omni, narrow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = []
    monkeypatch.setattr(threading, "excepthook", lambda death: died.append(death.exc_type))

    def read() -> None:
        stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
        next(event for event in stream if isinstance(event, PcmChunk))
        raise ConnectionError

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(30)
    assert died == [ConnectionError] and not new_threads()


def test_a_stream_that_holds_itself_ends_with_the_garbage(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    stream.player = stream  # as a traceback that is kept does
    del stream
    gc.collect()
    assert not new_threads()


def test_cancel_from_another_thread_ends_the_reader(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3000})
    timer = threading.Timer(0.2, stream.cancel)
    timer.start()
    events = list(stream)
    timer.join()
    assert not new_threads() and len(stream.reply.codes) < 2999
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
    stream = omni.stream(BROKEN)
    with pytest.raises(OmnijetError):
        list(stream)
    assert not new_threads() and list(stream) == []


def test_a_fault_holds_nothing_that_only_the_collector_finds(omni: Omni) -> None:
    gc.collect()
    gc.disable()
    try:
        stream = omni.stream(BROKEN)
        with pytest.raises(OmnijetError) as caught:
            list(stream)
        gone = weakref.ref(stream)
        del stream, caught
        assert gone() is None
    finally:
        gc.enable()


def test_a_graph_that_two_threads_ask_for_is_loaded_once(nano: tuple[Path, Path]) -> None:
    """An engine twice would be twice its memory."""

    class Slow(OrtBackend):
        loads = 0

        def load(self, path: Path, contract: GraphContract) -> OrtGraph:
            self.loads += 1
            time.sleep(0.2)
            return super().load(path, contract)

    backend = Slow(1)
    omni = Omni.open(nano[1], backend=backend)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(omni.model.graph, ["vocoder", "vocoder"])
    assert one is other and backend.loads == 1
