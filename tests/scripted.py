"""Models that write given texts: tool calls, long replies and stop strings at a test's will.

    with omnijet.load(bundle) as omni, scripted(omni, "four", "<tool_call>...") as script:
        omni.generate(...)  # writes "four" and speaks it
        omni.stream(...)    # writes the call

Only the choice of the next token is taken from the Thinker. Its graph is fed the tokens of the
script, so rows, caches, speech, limits and cancelling are those of a real reply. Of the trained
bundle (fixture `trained`), digits in words ("four seven one") are spoken as a recogniser hears
them; of other texts it makes sound of some length, up to `max_codes`.

What the option `begin` asks for comes before the text of the script, as it does before the
model's own. Each reply that begins takes the next text, in whatever thread and stream it runs;
after the text comes the end token. Where several replies run at once, pass a function instead of
texts: it gets the prompt (the conversation as the chat template writes it) and returns the text,
or None for what the model itself would write. Without a text left the model writes for itself,
too; a test whose script must be used up looks at `script.left`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.sampling import Sampler
from omnijet.runtime.model.thinker import Thinker
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.layout import Prompt

Words = str | list[int]
"""A text, or its tokens: a model can also write what its tokenizer would not."""
Answerer = Callable[[str], Words | None]


class Script:
    """What the next replies write. Any thread may use it.

    Attributes:
        prompts: that replies were written to, as the chat template writes them, in the order in
            which the replies began.
    """

    def __init__(self, texts: tuple[Words, ...], answerer: Answerer | None) -> None:
        self._texts = list(texts)
        self._answerer = answerer
        self._changing = threading.Lock()
        self.prompts: list[str] = []

    @property
    def left(self) -> list[Words]:
        """Texts that no reply has taken yet."""
        with self._changing:
            return list(self._texts)

    def say(self, *texts: Words) -> None:
        """Adds texts for the replies after those that have one."""
        with self._changing:
            self._texts += texts

    def next_text(self, prompt: str) -> Words | None:
        """Returns the text of a reply that begins; None: the model's own."""
        with self._changing:
            self.prompts.append(prompt)
            if self._answerer is None:
                return self._texts.pop(0) if self._texts else None
        return self._answerer(prompt)


@contextmanager
def scripted(omni: Omni, *script: Words | Answerer) -> Iterator[Script]:
    """Makes a model write given texts during the block.

    Args:
        omni: an open model; others are not touched.
        script: texts (or lists of ids) for one reply each, or one function from the prompt to that.
    """
    texts = tuple(one for one in script if isinstance(one, str | list))
    functions = [one for one in script if not isinstance(one, str | list)]
    assert len(functions) <= 1 and not (texts and functions), "either texts or one function"
    made = Script(texts, functions[0] if functions else None)
    model, parts = omni.model, vars(omni.model)
    own, lay_out, asked = model.thinker, model.prompt, threading.local()

    def prompt(*args: Any, **options: Any) -> Prompt:
        laid_out = lay_out(*args, **options)
        asked.text = laid_out.text  # a reply is written in the thread that lays its prompt out
        return laid_out

    def dictated() -> list[int] | None:
        text = made.next_text(asked.text)
        if text is None:
            return None
        ids = model.tokenizer.encode(text) if isinstance(text, str) else text
        return [*ids, own.tokens.eos[0]]

    values = {one.name: getattr(own, one.name) for one in fields(Thinker)}
    parts["thinker"] = _ScriptedThinker(**values, dictated=dictated)
    parts["prompt"] = prompt
    try:
        yield made
    finally:
        del parts["prompt"]
        if "thinker" in parts:  # else the model was closed
            parts["thinker"] = own


@dataclass(frozen=True, slots=True)
class _ScriptedThinker(Thinker):
    dictated: Callable[[], list[int] | None] = field(kw_only=True)

    def generate(self, prefill: Any, sampler: Sampler, *rest: Any) -> Any:
        ids = self.dictated()
        if ids is not None:
            sampler = _Copy([*sampler.first, *ids])
        return Thinker.generate(self, prefill, sampler, *rest)


class _Copy(Sampler):
    """Chooses given tokens, one after another."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = iter(ids)

    def __call__(self, logits: Array) -> int:
        return next(self._ids)
