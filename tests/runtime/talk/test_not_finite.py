"""NaN and infinity end a turn with an error that names the graph, and never become a token."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.finite import NotFinite, require_finite
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.cause import likely_cause
from omnijet.runtime.talk.stream import Stream
from tests.prompts import picture, sound, text, user
from tests.runtime.talk.poison import Poison, PoisonedBackend

QUESTION = user(picture(90, 70, 1), sound(2.5, 2), text("Hello"))
LIMITS: dict[str, Any] = {"seed": 3, "max_text_tokens": 6, "max_codes": 40}


@pytest.fixture(scope="module")
def opened(nano: tuple[Path, Path]) -> Iterator[tuple[Omni, PoisonedBackend]]:
    backend = PoisonedBackend()
    with Omni.open(nano[1], backend=backend) as omni:
        yield omni, backend


@pytest.fixture
def sick(opened: tuple[Omni, PoisonedBackend]) -> Iterator[tuple[Omni, PoisonedBackend]]:
    yield opened
    opened[1].poison = Poison()


CASES = [
    ("audio_encoder", 0, "while a sound is encoded"),
    ("vision_encoder", 0, "frame 1 of 1"),
    ("thinker_step", 0, "prefill"),
    ("thinker_step", 3, "decode step 3"),
    ("talker_step", 0, "prefill"),
    ("talker_step", 2, "decode step 2"),
    ("dit_step", 0, "mel frames 0 to"),
    ("vocoder", 0, "mel frames 0 to"),
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("graph", "good_runs", "step"), CASES)
@pytest.mark.parametrize("greedy", [True, False])
def test_every_graph_is_watched(
    sick: tuple[Omni, PoisonedBackend], graph: str, good_runs: int, step: str, value: float,
    greedy: bool,
) -> None:  # fmt: skip
    omni, backend = sick
    options: dict[str, Any] = {"greedy": True} if greedy else {"temperature": 1.0, "top_k": 9}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ask in (omni.generate, lambda *a, **k: list(omni.stream(*a, preset="fast", **k))):
            backend.poison = Poison(graph, good_runs, value)
            with pytest.raises(NotFinite) as caught:
                ask(QUESTION, **LIMITS, **options)
            assert graph in caught.value.what and step in str(caught.value.where)
            assert "omnijet check" in str(caught.value.fix)
            assert caught.value.__cause__ is None


@pytest.mark.parametrize("graph", ["audio_encoder", "thinker_step"])
def test_without_speech_too(sick: tuple[Omni, PoisonedBackend], graph: str) -> None:
    omni, backend = sick
    backend.poison = Poison(graph, 0)
    with pytest.raises(NotFinite):
        omni.generate(QUESTION, speech=False, **LIMITS)


def test_mel_and_wave_by_hand(sick: tuple[Omni, PoisonedBackend]) -> None:
    omni, backend = sick
    backend.poison = Poison("dit_step")
    with pytest.raises(NotFinite, match="dit_step"):
        omni.mel_of([1, 2, 3])
    backend.poison = Poison("vocoder")
    with pytest.raises(NotFinite, match="vocoder"):
        omni.wave_of(np.zeros((80, 12), np.float32))


def streamed(stream: Stream) -> None:
    for _ in stream:
        pass


@pytest.mark.parametrize(
    ("graph", "good_runs"), [("thinker_step", 0), ("thinker_step", 2), ("talker_step", 1)]
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_session_goes_on(
    sick: tuple[Omni, PoisonedBackend], graph: str, good_runs: int, whole: bool
) -> None:
    """Rows that are not finite stay in no cache, where they would spoil later turns."""
    omni, backend = sick
    with omni.session() as session:
        session.generate("Hello", **LIMITS)
        backend.poison = Poison(graph, good_runs)
        with pytest.raises(NotFinite):
            if whole:
                session.generate("Again?", **LIMITS)
            else:
                streamed(session.stream("Again?", preset="fast", **LIMITS))
        assert session.memory.thinker is None
        backend.poison = Poison()
        before = list(session.messages)
        after = session.generate("And now?", **LIMITS)
        with omni.session() as fresh:
            fresh.messages = list(before)
            expected = fresh.generate("And now?", **LIMITS)
    assert (after.text_ids, after.codes) == (expected.text_ids, expected.codes)
    if whole or good_runs == 0:
        assert len(before) == 3  # the turn that said nothing is forgotten


def test_listening_goes_on(sick: tuple[Omni, PoisonedBackend]) -> None:
    omni, backend = sick
    samples = (0.1 * np.random.default_rng(1).standard_normal(5 * 16_000)).astype(np.float32)
    with omni.session() as session:
        backend.poison = Poison("thinker_step")
        with pytest.raises(NotFinite) as caught:
            session.feed_audio(samples)
        assert caught.value.fix is not None
        backend.poison = Poison()
        session.feed_audio(samples)
        reply = session.generate("", **LIMITS)
    assert reply.text_ids and np.isfinite(reply.audio).all()


def test_what_is_finite_passes() -> None:
    largest = np.finfo(np.float32).max
    require_finite(np.array([largest, -largest, 0], np.float32), "g", "o", "s")
    with pytest.raises(OmnijetError) as caught:
        require_finite(np.array([np.nan, np.inf, -np.inf, 0], np.float32), "g", "o", "s")
    assert caught.value.got == "1 NaN and 2 infinite of 4"


def test_the_cause_fits_the_bundle(nano: tuple[Path, Path]) -> None:
    bundle = Bundle.open(nano[1])
    half = replace(bundle, manifest=replace(bundle.manifest, precision="f16"))
    small = replace(half, manifest=replace(half.manifest, quantization={"recipe": "w4a16-awq"}))
    assert "damaged" in likely_cause(bundle) and "bf16" not in likely_cause(bundle)
    assert "--dtype bf16" in likely_cause(half)
    assert "w4a16-awq" in likely_cause(small)
