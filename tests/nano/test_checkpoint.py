"""Tests of the committed checkpoint: its size, and equal right answers here and in transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2_5OmniForConditionalGeneration

from omnijet.nano.config import config
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import parse_messages
from tests.reference import load_reference, reference_reply
from tools.demo import CHECKPOINT, QUESTIONS, Question

LARGEST_BYTES = 25_000_000
MEL, WAVE = 1e-3, 1e-2  # relative rms; audible differences are far larger


@pytest.fixture(scope="module")
def omni(trained: tuple[Path, Path]) -> Omni:
    return Omni.open(trained[1], backend=OrtBackend(threads=1))


def test_size_and_files() -> None:
    files = {path.name: path.stat().st_size for path in CHECKPOINT.iterdir()}
    assert sum(files.values()) <= LARGEST_BYTES
    published = {
        "config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json",
        "tokenizer_config.json", "vocab.json", "merges.txt", "chat_template.json",
        "spk_dict.pt", "model.safetensors", "README.md",
    }  # fmt: skip
    assert set(files) == published
    assert json.loads((CHECKPOINT / "config.json").read_text()) == config()


def test_transformers_loads_every_weight() -> None:
    # its own from_pretrained sets voices on the model, which would be a pair here
    omni = Qwen2_5OmniForConditionalGeneration
    _, report = super(omni, omni).from_pretrained(
        CHECKPOINT, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["mismatched_keys"]
    assert not report["unexpected_keys"]


def messages_of(question: Question) -> list[dict[str, Any]]:
    """Returns the messages of a question, with the right answers to earlier turns."""
    system = [{"type": "text", "text": SPEECH_SYSTEM_PROMPT}]
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for turn in question.turns:
        parts = [{"type": kind, kind: value} for kind, value in turn]
        messages.append({"role": "user", "content": parts})
        messages.append({"role": "assistant", "content": "three yellow stars"})
    return messages[:-1]


@pytest.fixture(scope="module")
def reference() -> Any:
    return load_reference(CHECKPOINT)


@pytest.mark.parametrize("question", QUESTIONS, ids=[question.name for question in QUESTIONS])
def test_the_same_right_answer_here_and_in_transformers(
    omni: Omni, reference: Any, question: Question
) -> None:
    messages = messages_of(question)
    prompt = omni.model.prompt(parse_messages(messages))
    ours = omni.generate(messages, voice=question.voice, greedy=True, seed=3, max_codes=300)
    theirs = reference_reply(
        reference, prompt, voice=question.voice, max_text=64, max_codes=300, seed=3
    )
    assert ours.text == question.answer
    assert ours.text_ids == theirs.text_ids
    assert ours.codes == theirs.codes
    assert 15 < len(ours.codes) < 200
    for got, wanted, bound in ((ours.mel, theirs.mel, MEL), (ours.audio, theirs.wave, WAVE)):
        assert np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2)) <= bound
    assert np.abs(ours.audio).max() > 0.02
