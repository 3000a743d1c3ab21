"""A prompt as a person reads it: what exactly the model was fed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.prompt.tokenizer import SPELLINGS, Tokenizer


def spelled(ids: Iterable[int], tokenizer: Tokenizer, tokens: TokenIds) -> str:
    """Returns the text of a prompt with special tokens spelled out.

    The placeholders of a medium stand once, with their count: `<|AUDIO|>*57`.
    """
    media = {getattr(tokens, name): SPELLINGS[name] for name in ("audio", "image", "video")}
    words = []
    for medium, run in groupby(ids, lambda one: media.get(one)):
        found = list(run)
        words.append(tokenizer.spell(found) if medium is None else f"{medium}*{len(found)}")
    return "".join(words)
