from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.tmrope import QWEN_TOKEN_IDS
from omnijet.runtime.prompt.tokenizer import SPELLINGS, TURN_TOKENS, Tokenizer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE with the model's special tokens."""
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[*SPELLINGS.values(), *TURN_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    model.train_from_iterator(["the cat sat on the mat", "what is in this picture"], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    model.save(str(path))
    return path


def ids_of(tokenizer: Tokenizer) -> TokenIds:
    found = {name: tokenizer.token_id(spelling) for name, spelling in SPELLINGS.items()}
    return replace(QWEN_TOKEN_IDS, **found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "", "the cat", "<|im_start|>user\n<|AUDIO|> x<|im_end|>\n", "日本 🦊é", "<|AUDIO|",
        "a long <|im_start|>日本 🦊é text " * 300,
    ],
)  # fmt: skip
def test_encoding_equals_transformers(trained: Path, text: str) -> None:
    reference = PreTrainedTokenizerFast(tokenizer_file=str(trained))
    tokenizer = Tokenizer(trained)
    ids = tokenizer.encode(text)
    assert ids == reference(text).input_ids
    want = reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert tokenizer.decode(ids) == want
    spelt = reference.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert tokenizer.spell(ids) == spelt


def test_other_threads_run_while_a_long_text_is_read(trained: Path) -> None:
    """A server answers others meanwhile; the text is so long that several switches fit in."""
    tokenizer, ticks, is_read = Tokenizer(trained), 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not is_read.wait(0.001):
            ticks += 1

    ticking = threading.Thread(target=tick, daemon=True)
    text = "the cat sat on the mat " * 60_000
    ticking.start()
    before = ticks
    tokenizer.encode(text)
    found = ticks - before
    is_read.set()
    ticking.join()
    assert found > 20


def test_a_foreign_tokenizer_is_refused(trained: Path) -> None:
    tokenizer = Tokenizer(trained)
    tokenizer.check(ids_of(tokenizer))
    with pytest.raises(OmnijetError, match="does not belong") as caught:
        tokenizer.check(replace(ids_of(tokenizer), image=151655))
    assert "<|IMAGE|> is" in str(caught.value.got) and "not 151655" in str(caught.value.got)


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    for name in (path, tmp_path / "gone.json"):
        with pytest.raises(OmnijetError, match="tokenizer cannot be read"):
            Tokenizer(name)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"continuing_subword_prefix": "é"}, "cannot be read"),
        ({"type": "WordLevel", "unk_token": "nope", "vocab": {"a": 0}}, "fails at a text"),
    ],
)
def test_a_panic_is_an_error_like_any_other(
    trained: Path, tmp_path: Path, change: dict[str, object], what: str
) -> None:
    data = json.loads(trained.read_text())
    data["model"] = change if "type" in change else {**data["model"], **change}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    with pytest.raises(OmnijetError, match=what):
        Tokenizer(path).encode("the cat")


def test_a_panic_while_decoding(trained: Path, tmp_path: Path) -> None:
    data = json.loads(trained.read_text())
    data["decoder"] = {"type": "Strip", "content": "a", "start": 10**18, "stop": 10**18}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    with pytest.raises(OmnijetError, match="fails at its own tokens"):
        Tokenizer(path).decode(Tokenizer(path).encode("a"))


def test_special_tokens_may_be_kept_as_text(trained: Path) -> None:
    tokenizer = Tokenizer(trained)
    text = "one<|im_end|> two é<|im_start|>"
    ids = tokenizer.encode(text)
    kept = [tokenizer.token_id(token) for token in ("<|im_end|>", "<|im_start|>")]
    assert tokenizer.decode(ids) == "one two é"
    assert tokenizer.decode(ids, frozenset({kept[0]})) == "one<|im_end|> two é"
    assert tokenizer.decode(ids, frozenset(kept)) == text
