"""Guessed tokens change no reply: not its ids, its speech, its caches, nor any draw."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.decoder import Decoder, Rows
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.reply import PcmChunk, Reply, TextDelta
from tests.prompts import picture, sound, text, user
from tests.scripted import scripted

LIMITS: dict[str, Any] = {"seed": 5, "max_text_tokens": 60, "max_codes": 50}
REPEATING = user(text("one two three four one two three four one two three four one two"))
MIXED = user(picture(84, 84, 1), text("one two one two"), sound(0.7, 2), text("one two one"))
PLAIN = user(text("What is it?"))

CHOICES: tuple[dict[str, Any], ...] = (
    {},
    {"greedy": True},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"temperature": 0.4},
    {"temperature": 1.5, "top_k": 5},
    {"top_p": 0.6},
    {"temperature": 0.8, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1},
)


@pytest.fixture(scope="module")
def speaking(trained: tuple[Path, Path]) -> Iterator[Omni]:
    with Omni.open(trained[1], backend=OrtBackend(threads=1)) as opened:
        yield opened


def same(one: Reply, other: Reply) -> None:
    assert one.text_ids == other.text_ids and one.codes == other.codes
    assert (one.text, one.finish_reason, one.cuts) == (other.text, other.finish_reason, other.cuts)
    if one.audio.size:
        scale = np.abs(other.audio).max()
        np.testing.assert_allclose(one.audio, other.audio, atol=1e-3 * scale)


@pytest.mark.parametrize("messages", [REPEATING, MIXED, PLAIN], ids=["repeating", "mixed", "plain"])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_ids_are_the_same(omni: Omni, messages: Any, choice: dict[str, Any]) -> None:
    """The model has random weights: it repeats some of its prompt, and of what it wrote."""
    for seed in range(3):
        options = {**LIMITS, **choice, "speech": False, "seed": seed, "max_text_tokens": 120}
        guessed = omni.generate(messages, lookup=True, **options)
        same(guessed, omni.generate(messages, lookup=False, **options))
        same(omni.generate(messages, **options), guessed)
        assert guessed.tokens_per_step >= 1
    if messages is REPEATING and choice in ({}, {"greedy": True}):
        assert guessed.tokens_per_step > 1.2


def test_only_true_guesses_make_steps_rare(speaking: Omni) -> None:
    """Scripted replies fix what comes true."""
    words = "four seven one four seven one four seven one four seven one four seven one"
    found = []
    for written in (words, "one eight three nine zero two five"):
        for lookup in (True, False):
            with scripted(speaking, written) as script:
                reply = speaking.generate(PLAIN, lookup=lookup, speech=False, **LIMITS)
            assert reply.text == written and not script.left
            found.append(reply.tokens_per_step)
    assert found[0] > 2 and found[1:] == [1, 1, 1]


@pytest.mark.parametrize("stop", [{}, {"stop": "one"}, {"unspoken": "seven one"}], ids=str)
@pytest.mark.parametrize("most", [1, 2, 3, 7, 20, 60])
def test_speech_is_the_same(speaking: Omni, most: int, stop: dict[str, Any]) -> None:
    words = "four seven four seven four seven four seven four seven one four seven"
    replies = []
    for lookup in (True, False):
        with scripted(speaking, words):
            options = {**LIMITS, **stop, "max_text_tokens": most, "lookup": lookup}
            replies.append(speaking.generate(PLAIN, **options))
    same(*replies)
    assert replies[0].codes or most == 1  # one token is not spoken


def test_a_begin_is_fed_at_once(omni: Omni) -> None:
    options = {**LIMITS, "speech": False, "begin": "alpha beta gamma delta epsilon zeta eta"}
    guessed = omni.generate(PLAIN, lookup=True, **options)
    same(guessed, omni.generate(PLAIN, lookup=False, **options))
    assert guessed.tokens_per_step > 1


@pytest.mark.parametrize("room", [4, 9, 40])
def test_a_full_context_ends_at_the_same_token(omni: Omni, room: int) -> None:
    options = {**LIMITS, "speech": False}
    prompt = omni.generate(REPEATING, **{**options, "max_text_tokens": 1}).prompt_tokens
    small = Omni(Model(omni.bundle, omni.model.backend, context_limit=prompt + room))
    replies = [small.generate(REPEATING, lookup=lookup, **options) for lookup in (True, False)]
    same(*replies)
    assert replies[0].finish_reason == "context" and replies[0].tokens_per_step >= 1


def test_the_sampler_sees_the_same_logits(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, up to the last bits: a product of several rows may sum in another order."""
    seen: list[list[np.ndarray]] = []
    fed: list[int] = []
    step = Decoder.step

    def watched(self: Decoder, context: Any, embeds: Any, position: int) -> Rows:
        fed.append(len(embeds))
        return step(self, context, embeds, position)

    from omnijet.runtime.model.sampling import Sampler

    choose = Sampler.__call__

    def chosen(self: Sampler, logits: np.ndarray) -> int:
        seen[-1].append(logits.copy())
        return choose(self, logits)

    monkeypatch.setattr(Decoder, "step", watched)
    monkeypatch.setattr(Sampler, "__call__", chosen)
    for lookup in (True, False):
        seen.append([])
        omni.generate(REPEATING, lookup=lookup, speech=False, **LIMITS)
    assert max(fed) > 4 and len(seen[0]) == len(seen[1]) == LIMITS["max_text_tokens"]
    for one, other in zip(*seen, strict=True):
        assert np.abs(one - other).max() <= 2e-5 * np.abs(other).max()


@pytest.mark.parametrize("after", [1, 5, 17])
def test_a_session_goes_on_from_a_reply_that_was_cut_off(omni: Omni, after: int) -> None:
    """Guesses that were fed beyond the last token read are no part of the caches."""
    found = []
    for lookup in (True, False):
        with omni.session() as session:
            stream = session.stream(
                "one two three one two three", lookup=lookup, speech=False, **LIMITS
            )
            ids: list[int] = []
            for event in stream:
                assert isinstance(event, TextDelta)
                ids += event.ids
                if len(ids) >= after:
                    break
            stream.cancel()
            session.messages[-1] = replace(session.messages[-1])
            kept = [m for m in session.messages if m.role != "assistant"]
            session.messages = kept  # how far the worker had come by then is chance
            reply = session.generate("And one two three?", lookup=lookup, speech=False, **LIMITS)
            found.append((reply.text_ids, session.memory.fingerprints.tolist()))
            later = session.generate("Again.", lookup=lookup, speech=False, **LIMITS)
            assert later.reused_tokens > reply.prompt_tokens
            found[-1] += (later.text_ids, later.reused_tokens)
    assert found[0] == found[1]


def test_streams_say_the_same(speaking: Omni) -> None:
    words = "four seven four seven four seven four seven"
    found = []
    for lookup in (True, False):
        with scripted(speaking, words):
            events = list(speaking.stream(PLAIN, lookup=lookup, **LIMITS))
        texts = [(e.text, e.ids) for e in events if isinstance(e, TextDelta)]
        samples = [e.samples for e in events if isinstance(e, PcmChunk)]
        found.append((texts, [one.size for one in samples]))
    assert found[0] == found[1]


@pytest.fixture
def older(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """Returns a bundle whose Thinker computes the logits of its last row, as all once did."""
    import onnx
    from onnx import numpy_helper

    folder = tmp_path / "older"
    shutil.copytree(trained[1], folder)
    manifest = replace(Manifest.read(folder), picks_rows=False)
    path = folder / manifest.graphs["thinker_step"].file
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last"))
    for node in model.graph.node:
        node.input[:] = ["last" if name == "head_rows" else name for name in node.input]
    (picks,) = (one for one in model.graph.input if one.name == "head_rows")
    model.graph.input.remove(picks)
    logits = next(one for one in model.graph.output if one.name == "logits")
    logits.type.tensor_type.shape.dim[0].Clear()
    logits.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, path)
    from omnijet.runtime.bundle.manifest import hash_file

    files = {**manifest.files, manifest.graphs["thinker_step"].file: hash_file(path)}
    replace(manifest, files=files).write(folder)
    return folder


def test_an_older_bundle_answers_and_says_what_it_cannot(older: Path, speaking: Omni) -> None:
    with Omni.open(older, backend=OrtBackend(threads=1)) as omni:
        options = {**LIMITS, "greedy": True}
        same(omni.generate(PLAIN, **options), speaking.generate(PLAIN, lookup=False, **options))
        same(omni.generate(PLAIN, lookup=False, **options), omni.generate(PLAIN, **options))
        with pytest.raises(OmnijetError, match="cannot check guesses") as caught:
            omni.generate(PLAIN, lookup=True, **options)
    assert "export the checkpoint again" in str(caught.value) and str(older) in str(caught.value)
