"""The sampler equals transformers' logits processors over random steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.sampling import Sampler, Sampling
from omnijet.runtime.omni import Omni

VOCAB = 8448
TALKER = Sampling(
    greedy=False,
    repetition_penalty=1.05,
    temperature=0.9,
    top_k=40,
    top_p=0.8,
    suppress=(8293,),
)


def hf_processors(sampling: Sampling) -> LogitsProcessorList:
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
            SuppressTokensLogitsProcessor(list(sampling.suppress)),
        ]
    )
    if not sampling.greedy:
        processors += [
            TemperatureLogitsWarper(sampling.temperature),
            TopKLogitsWarper(sampling.top_k),
            TopPLogitsWarper(sampling.top_p),
        ]
    return processors


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("scale", [0.3, 2.0, 8.0])
def test_processed_logits_equal_the_reference_over_100_steps(greedy: bool, scale: float) -> None:
    sampling = TALKER.made_greedy() if greedy else TALKER
    reference = hf_processors(sampling)
    rng = np.random.default_rng(7)
    history = [8296] * 11 + [8292, 8293]
    sampler = Sampler(sampling, VOCAB, history, np.random.default_rng(3))
    ids = list(history)
    survivors = set()
    for _ in range(100):
        logits = (scale * rng.standard_normal(VOCAB)).astype(np.float32)
        expected = reference(torch.tensor([ids]), torch.tensor(logits)[None])[0].numpy()
        got = sampler.process(logits)
        np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
        kept = ~np.isneginf(expected)
        survivors.add(int(kept.sum()))
        error = np.abs(got[kept] - expected[kept]).max() / np.abs(expected[kept]).max()
        assert error <= 1e-6
        token = sampler(logits)
        assert kept[token]
        if greedy:
            assert token == expected.argmax()
        ids.append(token)
    assert greedy or len(survivors) > 1  # top-p really cut at different places


def test_pad_and_mask_are_penalised_from_the_first_step() -> None:
    sampler = Sampler(TALKER.made_greedy(), VOCAB, [8296, 8292, 8293], np.random.default_rng(0))
    logits = np.zeros(VOCAB, np.float32)
    logits[[8292, 5]] = 1.0, 0.99
    assert sampler(logits) == 5


def test_draws_follow_the_processed_distribution() -> None:
    sampling = Sampling(greedy=False, temperature=1.0)
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    sampler = Sampler(sampling, 3, (), np.random.default_rng(5))
    counts = np.bincount([sampler(logits) for _ in range(20_000)], minlength=3) / 20_000
    np.testing.assert_allclose(counts, [0.1, 0.2, 0.7], atol=0.015)


def test_same_seed_same_draws() -> None:
    rng = np.random.default_rng(1)
    steps = rng.standard_normal((30, VOCAB)).astype(np.float32)
    runs = []
    for _ in range(2):
        sampler = Sampler(TALKER, VOCAB, [8292], np.random.default_rng(11))
        runs.append([sampler(step) for step in steps])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 15


def test_tokens_that_come_first_draw_nothing_and_count_as_seen() -> None:
    sampling = Sampling(greedy=False, repetition_penalty=1.5)
    logits = np.random.default_rng(1).standard_normal(20).astype(np.float32)
    begun = Sampler(sampling, 20, (), np.random.default_rng(2), [3, 7, 3])
    assert [begun(logits) for _ in range(3)] == [3, 7, 3]
    after = Sampler(sampling, 20, (3, 7), np.random.default_rng(2))
    np.testing.assert_array_equal(begun.process(logits), after.process(logits))
    assert [begun(logits) for _ in range(9)] == [after(logits) for _ in range(9)]


def test_logits_are_left_untouched() -> None:
    logits = np.arange(VOCAB, dtype=np.float32)
    before = logits.copy()
    Sampler(TALKER, VOCAB, [1, 2], np.random.default_rng(0))(logits)
    np.testing.assert_array_equal(logits, before)


def test_suppressed_codes_add_to_the_callers(omni: Omni) -> None:
    question = [{"role": "user", "content": "Hi"}]
    limits = {"max_text_tokens": 3, "max_codes": 6, "seed": 0}
    first = omni.generate(question, greedy=True, **limits).codes[0]
    other = Sampling(suppress=(first,))
    assert first not in omni.generate(question, talker_sampling=other, **limits).codes


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"repetition_penalty": 0},
    ],
)
def test_unusable_settings(settings: dict[str, float]) -> None:
    with pytest.raises(OmnijetError, match="sampling settings"):
        Sampling(**settings)


def test_fewer_left_than_top_k() -> None:
    """Suppression may leave fewer tokens than top-k would."""
    sampling = Sampling(greedy=False, top_k=5, suppress=(0, 1, 2, 3))
    sampler = Sampler(sampling, 6, (), np.random.default_rng(0))
    logits = np.arange(6, dtype=np.float32)
    assert np.isneginf(sampler.process(logits)).tolist() == [True] * 4 + [False] * 2
    assert {sampler(logits) for _ in range(50)} == {4, 5}
