"""The whole model equals transformers 4.57.6 on the same checkpoint, prompt and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.talk.clock import Clock
from tests.prompts import Messages, conversations, write_clips
from tests.reference import load_reference, model_inputs, reference_reply

NAMES = list(conversations(Path()))
MAX_TEXT, MAX_CODES = 14, 24
FEATURES, MEL, WAVE = 1e-5, 1e-4, 1e-3  # relative bounds


@dataclass(frozen=True, slots=True)
class Pair:
    """Our runtime and the reference on one checkpoint."""

    omni: Omni
    reference: Any


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    return folder


@pytest.fixture(scope="module", params=["nano", "nano_7b"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    checkpoint, bundle = request.getfixturevalue(request.param)
    with Omni.open(bundle, backend=OrtBackend(threads=1)) as omni:
        yield Pair(omni, load_reference(checkpoint))


def prompt_of(omni: Omni, messages: Messages) -> Prompt:
    return omni.model.prompt(parse_messages(messages))


def relative_error(got: Array, expected: torch.Tensor) -> float:
    """Returns the largest difference over the largest expected magnitude."""
    want = expected.numpy()
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


def relative_rms(got: Array, expected: Array) -> float:
    assert got.shape == expected.shape
    return float(np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("name", NAMES)
def test_features_and_logits(pair: Pair, clips: Path, name: str) -> None:
    prompt = prompt_of(pair.omni, conversations(clips)[name])
    tokens, ids = pair.omni.model.dims.tokens, prompt.input_ids
    inputs = model_inputs(prompt)  # before the encoders, which release their inputs
    embeds = pair.omni.model.embed(prompt, 0, ids.size, Clock())
    thinker = pair.reference.thinker
    with torch.no_grad():
        expected = {}
        if prompt.images:
            expected[tokens.image] = thinker.get_image_features(
                inputs["pixel_values"], inputs["image_grid_thw"]
            )
        if prompt.videos:
            expected[tokens.video] = thinker.get_video_features(
                inputs["pixel_values_videos"], inputs["video_grid_thw"]
            )
        if prompt.sounds:
            expected[tokens.audio] = thinker.get_audio_features(
                inputs["input_features"], inputs["feature_attention_mask"]
            )
        logits = thinker(**inputs).logits[0, -1]
    for token, features in expected.items():
        assert relative_error(embeds[prompt.input_ids == token], features) <= FEATURES
    context = pair.omni.model.thinker.decoder.start(ids.size)
    prefill = pair.omni.model.thinker.prefill(context, embeds, prompt.positions, prompt.delta)
    assert relative_error(prefill.logits, logits) <= FEATURES


@pytest.mark.parametrize("name", NAMES)
def test_reply(pair: Pair, clips: Path, name: str) -> None:
    messages = conversations(clips)[name]
    seed = NAMES.index(name)
    ours = pair.omni.generate(
        messages,
        system=None,  # the reference adds none
        voice=("Chelsie", "Ethan")[seed % 2],
        greedy=True,
        seed=seed,
        max_text_tokens=MAX_TEXT,
        max_codes=MAX_CODES,
    )
    expected = reference_reply(
        pair.reference,
        prompt_of(pair.omni, messages),
        voice=("Chelsie", "Ethan")[seed % 2],
        max_text=MAX_TEXT,
        max_codes=MAX_CODES,
        seed=seed,
    )
    assert ours.text_ids == expected.text_ids
    assert ours.codes == expected.codes
    assert len(ours.codes) > 8
    assert relative_rms(ours.mel, expected.mel) <= MEL
    assert relative_rms(ours.audio, expected.wave) <= WAVE


def test_a_long_reply_crosses_cache_buckets(pair: Pair, clips: Path) -> None:
    messages = conversations(clips)["sound, then picture, then words"]
    limits = {"voice": "Ethan", "seed": 5}
    ours = pair.omni.generate(messages, greedy=True, max_text_tokens=400, max_codes=500, **limits)
    expected = reference_reply(
        pair.reference, prompt_of(pair.omni, messages), max_text=400, max_codes=500, **limits
    )
    assert ours.prompt_tokens + len(ours.text_ids) > 512
    assert ours.text_ids == expected.text_ids and ours.codes == expected.codes
    assert len(ours.codes) > 300
    assert relative_rms(ours.mel, expected.mel) <= MEL
    assert relative_rms(ours.audio, expected.wave) <= WAVE


def test_penalties_count_what_the_reference_counts(pair: Pair, clips: Path) -> None:
    messages = conversations(clips)["picture and sound"]
    limits = {"voice": "Ethan", "seed": 2}
    plain = pair.omni.generate(
        messages, greedy=True, max_text_tokens=MAX_TEXT, max_codes=MAX_CODES, **limits
    )
    ours = pair.omni.generate(
        messages, repetition_penalty=1.4, talker_repetition_penalty=1.3, greedy=True,
        max_text_tokens=MAX_TEXT, max_codes=MAX_CODES, **limits,
    )  # fmt: skip
    expected = reference_reply(
        pair.reference, prompt_of(pair.omni, messages), max_text=MAX_TEXT, max_codes=MAX_CODES,
        thinker_repetition_penalty=1.4, talker_repetition_penalty=1.3, **limits,
    )  # fmt: skip
    assert ours.text_ids == expected.text_ids != plain.text_ids
    assert ours.codes == expected.codes
