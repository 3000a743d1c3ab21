"""The text tokenizer of a bundle: `tokenizer.json`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from itertools import groupby
from pathlib import Path

import tokenizers  # type: ignore[import-untyped]

from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shorten
from omnijet.runtime.files.printable import printable

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
LONG = 4096
"""Characters; only the library's call for several texts lets other threads run meanwhile."""


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
        except BaseException as error:
            self._tell(error, "cannot be read")
            raise
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str) -> list[int]:
        """Returns token ids; no special tokens are added."""
        try:
            if len(text) > LONG:
                (made,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
            else:
                made = self._tokenizer.encode(text, add_special_tokens=False)
            ids: list[int] = made.ids
        except BaseException as error:
            self._tell(error, "fails at a text")
            raise
        return ids

    def decode(self, ids: Iterable[int], kept: frozenset[int] = frozenset()) -> str:
        """Returns the text without special tokens; incomplete characters are U+FFFD.

        Args:
            kept: special tokens that are text all the same.
        """
        numbers = [int(number) for number in ids]
        if kept.isdisjoint(numbers):
            return self._decoded(numbers, skip_special_tokens=True)
        runs = groupby(numbers, kept.__contains__)
        return "".join(
            self._decoded(list(run), skip_special_tokens=not is_kept) for is_kept, run in runs
        )

    def spell(self, ids: Iterable[int]) -> str:
        """Returns the text with special tokens spelled out."""
        return self._decoded([int(number) for number in ids], skip_special_tokens=False)

    def _decoded(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        try:
            text: str = self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        except BaseException as error:
            self._tell(error, "fails at its own tokens")
            raise
        return text

    def _tell(self, error: BaseException, what: str) -> None:
        """Raises `OmnijetError` for a fault of the binding: it has no narrower classes of its own.

        A panic derives from `BaseException`, as Ctrl-C does, for which it does nothing.
        """
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise OmnijetError(
                f"the tokenizer {what}",
                where=self.path,
                expected="a tokenizer.json of the tokenizers library",
                got=printable(shorten(str(error))),
                fix="export the bundle again",
            ) from error

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token by its spelling."""
        token_id: int | None = self._tokenizer.token_to_id(token)
        return token_id

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The ids of the special tokens, by their spelling."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token.content: number for number, token in added.items() if token.special}

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
