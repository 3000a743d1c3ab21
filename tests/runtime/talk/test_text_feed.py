"""Text token by token is the text of all tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.bundle.folder import TOKENIZER
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.talk.text_feed import TextFeed


@pytest.fixture(scope="module")
def tokenizer(nano: tuple[Path, Path]) -> Tokenizer:
    return Tokenizer(nano[1] / TOKENIZER)


def fed(tokenizer: Tokenizer, ids: list[int]) -> list[tuple[str, tuple[int, ...]]]:
    feed = TextFeed(tokenizer)
    deltas = [*(feed.push(token) for token in ids), feed.rest()]
    return [(delta.text, delta.ids) for delta in deltas if delta is not None]


@pytest.mark.parametrize("text", ["", "Hello there", "naïve café", "日本語 – 🙂🙃", "🙂"])
def test_deltas_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    deltas = fed(tokenizer, ids)
    assert "".join(part for part, _ in deltas) == text
    assert [token for _, tokens in deltas for token in tokens] == ids
    assert not any("\ufffd" in part for part, _ in deltas)


def test_a_character_of_several_tokens_comes_whole(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a🙂b")
    assert len(ids) > 4  # one per byte: this tokenizer never saw the character
    assert [part for part, _ in fed(tokenizer, ids)] == ["a", "🙂", "b"]


def test_bytes_that_make_no_character_change_nothing(tokenizer: Tokenizer) -> None:
    """Random tokens: broken characters at every place, special tokens among them."""
    rng = np.random.default_rng(0)
    special = tokenizer.token_id("<|im_end|>")
    assert special is not None
    for _ in range(300):
        ids = [*rng.integers(0, 256, rng.integers(1, 12)).tolist(), special]
        rng.shuffle(ids)
        assert "".join(part for part, _ in fed(tokenizer, ids)) == tokenizer.decode(ids)
