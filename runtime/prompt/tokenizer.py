"""The text tokenizer of a bundle: `tokenizer.json`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import tokenizers  # type: ignore[import-untyped]

from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.errors import OmnijetError

# how TokenIds' fields are spelled
SPELLINGS = {
    "audio": "<|AUDIO|>",
    "image": "<|IMAGE|>",
    "video": "<|VIDEO|>",
    "audio_bos": "<|audio_bos|>",
    "audio_eos": "<|audio_eos|>",
    "vision_bos": "<|vision_bos|>",
    "vision_eos": "<|vision_eos|>",
}
TURN_TOKENS = ("<|im_start|>", "<|im_end|>")


class Tokenizer:
    """Reads `tokenizer.json` from `path`.

    Special tokens spelled out in a text are parsed, as the reference tokenizer does. A caller
    that passes on the text of strangers decides whether to allow that.

    Raises:
        OmnijetError: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(os.fspath(path))
        except Exception as error:  # the binding raises nothing narrower
            raise OmnijetError(
                "the tokenizer cannot be read",
                where=path,
                expected="a tokenizer.json of the tokenizers library",
                got=error,
                fix="export the bundle again",
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str) -> list[int]:
        """Returns token ids; no special tokens are added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text without special tokens; incomplete characters are U+FFFD."""
        text: str = self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)
        return text

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token by its spelling."""
        token_id: int | None = self._tokenizer.token_to_id(token)
        return token_id

    def check(self, token_ids: TokenIds) -> None:
        """Checks that the tokenizer belongs to the model.

        Raises:
            OmnijetError: a special token is missing or has another id.
        """
        faults = []
        for name, spelling in SPELLINGS.items():
            expected, got = getattr(token_ids, name), self.token_id(spelling)
            if got != expected:
                faults.append(f"{spelling} is {'missing' if got is None else got}, not {expected}")
        faults += [f"{token} is missing" for token in TURN_TOKENS if self.token_id(token) is None]
        if faults:
            raise OmnijetError(
                "the tokenizer does not belong to the model",
                where=self.path,
                expected="the special tokens of the model's configuration",
                got="\n            ".join(faults),
                fix="export the bundle again from a whole checkpoint",
            )
