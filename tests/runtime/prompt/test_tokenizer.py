from __future__ import annotations

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
    "text", ["", "the cat", "<|im_start|>user\n<|AUDIO|> x<|im_end|>\n", "日本 🦊é", "<|AUDIO|"]
)
def test_encoding_equals_transformers(trained: Path, text: str) -> None:
    reference = PreTrainedTokenizerFast(tokenizer_file=str(trained))
    tokenizer = Tokenizer(trained)
    ids = tokenizer.encode(text)
    assert ids == reference(text).input_ids
    want = reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert tokenizer.decode(ids) == want


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
