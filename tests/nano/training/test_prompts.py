"""Tests that training examples have the ids and positions of the runtime's prompts."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile

from omnijet.nano.training.corpus import PLAIN_SYSTEM_PROMPT, SYSTEM_PROMPTS
from omnijet.nano.training.features import Features, Sounds
from omnijet.nano.training.prompts import IGNORED, ExampleBuilder, TrainingExample, thin_clip
from omnijet.nano.training.sight import PREPROCESSING
from omnijet.nano.training.tokenizer import model_dims, tokenizer
from omnijet.nano.world import words
from omnijet.nano.world.clips import Clip, write_clip
from omnijet.nano.world.skills import Item, Picture, Utterance
from omnijet.runtime.bundle.dims import audio_token_count
from omnijet.runtime.prompt.chat import DEFAULT_CHAT_TEMPLATE
from omnijet.runtime.prompt.layout import build_prompt
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.prompt.tmrope import tmrope_positions

WIDTH = model_dims().thinker.hidden
CLIP = Clip((("red", "star"), ("blue", "circle"), ("white", "square")), 1, 5)
SHOWN = Picture(2, "green", "star", 7)
SAMPLES = 31_111
ITEMS = {
    "hear": Item("hear", (((Utterance("one two"),), "one two"),)),
    "see": Item("see", (((SHOWN, words.SEE), SHOWN.description),)),
    "watch": Item("watch", (((CLIP, words.WATCH), "it was blue"),)),
    "converse": Item(
        "converse",
        (((SHOWN, words.SEE), SHOWN.description), ((Utterance("one two"),), "two")),
    ),
}


def sounds(frames: list[int]) -> Sounds:
    counts = [audio_token_count(count) for count in frames]
    rows = np.ones((sum(counts), WIDTH), np.float16)
    return Sounds(rows, np.cumsum([0, *counts]), np.array(frames))


def builder(clip_frames: int) -> ExampleBuilder:
    frames = -(-SAMPLES // 160)
    features = Features(
        takes=sounds([frames, frames]),
        pictures=np.full((4, 7, 4, 1, 16, WIDTH), 2, np.float16),
        frames=np.full((7, 4, 1, 128, WIDTH), 3, np.float16),
        tracks=sounds([clip_frames]),
        track_seconds=np.array([3]),
        beeps=np.array([1]),
    )
    return ExampleBuilder(features, {"one two": [0]})


def asked(item: Item, system: str | None, folder: Path) -> list[dict[str, Any]]:
    """Returns the messages of an item with its media in files, up to the last answer."""
    messages: list[dict[str, Any]] = []
    if system is not None:
        messages.append({"role": "system", "content": [{"type": "text", "text": system}]})
    for parts, answer in item.turns:
        content = []
        for part in parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            elif isinstance(part, Utterance):
                noise = np.random.default_rng(0).standard_normal(SAMPLES) * 0.1
                soundfile.write(folder / "said.wav", noise, 16_000)
                content.append({"type": "audio", "audio": str(folder / "said.wav")})
            elif isinstance(part, Picture):
                content.append({"type": "image", "image": part.draw()})
            else:
                write_clip(part, folder / "clip.mp4")
                content.append({"type": "video", "video": str(folder / "clip.mp4")})
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return messages[:-1]


@pytest.mark.parametrize("system", [None, *SYSTEM_PROMPTS], ids=["none", "speech", "plain"])
@pytest.mark.parametrize("name", ITEMS)
def test_an_example_starts_like_the_prompt_of_the_runtime(
    name: str, system: str | None, tmp_path: Path
) -> None:
    tokens = model_dims().tokens
    item = ITEMS[name]
    prompt = build_prompt(
        parse_messages(asked(item, system, tmp_path)), tokenizer(), model_dims(), PREPROCESSING,
        use_audio_in_video=True, chat_template=DEFAULT_CHAT_TEMPLATE,
    )  # fmt: skip
    heard = prompt.mel_lengths[0] if name == "watch" else 300
    example = builder(heard).example(item, Random(0), system)
    length = prompt.input_ids.size
    np.testing.assert_array_equal(example.ids[:length], prompt.input_ids)
    answer = tokenizer().encode(f"{item.answer}<|im_end|>")
    assert example.ids[length:].tolist() == answer
    positions, _ = tmrope_positions(
        prompt.input_ids[None],
        image_grid_thw=[picture.grid for picture in prompt.images] or None,
        video_grid_thw=[clip.grid for clip in prompt.videos] or None,
        audio_seqlens=list(prompt.mel_lengths) or None,
        second_per_grids=list(prompt.seconds_per_grid) or None,
        use_audio_in_video=prompt.use_audio_in_video,
        token_ids=tokens,
    )
    np.testing.assert_array_equal(example.positions[:, :length], positions[:, 0])
    # positions after the prompt continue on all axes alike
    follow = example.positions[:, length:] - positions[:, 0].max()
    np.testing.assert_array_equal(follow, np.tile(1 + np.arange(len(answer)), (3, 1)))
    for placeholder, rows in example.media.items():
        assert len(rows) == (example.ids == placeholder).sum()


@pytest.mark.parametrize("name", ITEMS)
def test_labels_are_the_answers(name: str) -> None:
    example = builder(300).example(ITEMS[name], Random(0), PLAIN_SYSTEM_PROMPT)
    wanted = [
        token
        for _, answer in ITEMS[name].turns
        for token in tokenizer().encode(f"{answer}<|im_end|>")
    ]
    labelled = np.flatnonzero(example.labels != IGNORED)
    assert example.labels[labelled].tolist() == wanted
    np.testing.assert_array_equal(example.ids[labelled + 1], example.labels[labelled])


def test_a_thinned_clip_keeps_places() -> None:
    tokens = model_dims().tokens
    whole = builder(300).example(ITEMS["watch"], Random(0), None)
    thin: TrainingExample = thin_clip(whole, 0.2, np.random.default_rng(0))
    cells = thin.ids == tokens.video
    assert 0.1 < cells.sum() / (whole.ids == tokens.video).sum() < 0.3
    assert len(thin.media[tokens.video]) == cells.sum()
    assert (thin.ids != tokens.video).sum() == (whole.ids != tokens.video).sum()
    pairs = {tuple(column) for column in whole.positions.T.tolist()}
    assert {tuple(column) for column in thin.positions.T.tolist()} <= pairs
