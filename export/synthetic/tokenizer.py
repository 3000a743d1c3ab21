"""Writes tokenizer files for synthetic checkpoints: a small byte-level BPE, trained on the spot.

Its pre-tokenizer and special tokens are those of Qwen2.5-Omni. Special tokens have the ids
that the configuration names; the ids before them that the text does not need stay unused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import (  # type: ignore[import-untyped]
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
)
from tokenizers.models import BPE  # type: ignore[import-untyped]
from tokenizers.trainers import BpeTrainer  # type: ignore[import-untyped]

from omnijet.export.synthetic.presets import TINY_IDS
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.prompt.chat import DEFAULT_CHAT_TEMPLATE

# the pattern of Qwen2's tokenizer.json
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# in the order of their ids
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>",
    "<|audio_eos|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_bos|>",
    "<|vision_eos|>", "<|vision_pad|>", "<|IMAGE|>", "<|VIDEO|>",
)  # fmt: skip

ROLES = {
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "audio_token": "<|AUDIO|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}

TEXT = """\
You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving
auditory and visual inputs, as well as generating text and speech. You are a helpful assistant.
system user assistant. Who are you? What can you see and hear in this picture and this sound?
I can see a red circle, a green square and a blue triangle on a white table by the window.
How many yellow stars are there, and which of them is the largest one? There are three stars.
Please tell me what the person in the video says, and what happens after the bell rings.
She opened the door, looked at the garden and said that it would rain before the evening.
The weather is nice today, so we could walk along the river and have lunch under the trees.
One two three four five six seven eight nine ten eleven twelve, left right up down yes no.
Good morning! Thank you very much, that was quick. Could you say it again, a little slower?
Water boils at one hundred degrees; ice melts at zero. The sun rises in the east every day.
My brother plays the piano while my sister sings, and everybody in the house listens to them.
"""


def write_tokenizer(
    folder: Path, dims: ModelDims, lines: Sequence[str] = tuple(TEXT.splitlines())
) -> None:
    """Trains a tokenizer on `lines` and writes its files into `folder`.

    The files are tokenizer.json, vocab.json, merges.txt, tokenizer_config.json and
    chat_template.json.
    """
    data = _train(lines)
    first = dims.tokens.pad  # <|endoftext|> is the first special id
    specials = [(first + offset, name) for offset, name in enumerate(SPECIAL)]
    data["added_tokens"] = [
        {
            "id": token, "content": name, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True,
        }
        for token, name in specials
    ]  # fmt: skip
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    assert max(vocab.values()) < first, "the text's ids run into the special ones"
    _write(folder / "vocab.json", vocab)
    lines = [" ".join(pair) for pair in merges]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n", "utf-8")
    # the model lists special tokens too; otherwise the library would assign its own ids
    data["model"]["vocab"] = {**vocab, **{name: token for token, name in specials}}
    _write(folder / "tokenizer.json", data)
    _write(folder / "tokenizer_config.json", _config(specials))
    _write(folder / "chat_template.json", {"chat_template": DEFAULT_CHAT_TEMPLATE})


def _train(lines: Sequence[str]) -> dict[str, Any]:
    tokenizer = Tokenizer(BPE(fuse_unk=False, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=TINY_IDS,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(lines, trainer)
    data: dict[str, Any] = json.loads(tokenizer.to_str())
    return data


def _config(specials: list[tuple[int, str]]) -> dict[str, Any]:
    added = {
        str(token): {
            "content": name, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True,
        }
        for token, name in specials
    }  # fmt: skip
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "chat_template": DEFAULT_CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "extra_special_tokens": {
            k: v for k, v in ROLES.items() if k not in ("eos_token", "pad_token")
        },
        "model_max_length": 32768,
        "processor_class": "Qwen2_5OmniProcessor",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
        **ROLES,
    }


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
