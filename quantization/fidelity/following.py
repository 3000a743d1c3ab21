"""Teacher forcing: one bundle replies, and another computes logits on the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.sampling import Sampler
from omnijet.runtime.model.talker import TALKER_SAMPLING, prompt_rows
from omnijet.runtime.model.thinker import THINKER_SAMPLING
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.medium import EncoderInput
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.model import Model

Messages = Sequence[dict[str, Any]]

MAX_TEXT_TOKENS = 64
MAX_CODES = 200  # 4 s of speech
SEED = 0  # seed of the Talker's draws and of the DiT's noise


class Recorder(Sampler):
    """A sampler that keeps all logits and chooses with a given function.

    Attributes:
        logits: f32[vocab] for each step.
        tokens: the chosen tokens.
    """

    def __init__(self, choose: Callable[[Array], int]) -> None:
        self._choose = choose
        self.logits: list[Array] = []
        self.tokens: list[int] = []

    def __call__(self, logits: Array) -> int:
        self.logits.append(logits.copy())
        # logits that are not finite are reported later; nothing can be drawn from them
        numbers = logits if np.isfinite(logits).all() else np.zeros_like(logits)
        self.tokens.append(self._choose(numbers))
        return self.tokens[-1]

    @staticmethod
    def forced(tokens: Sequence[int]) -> Recorder:
        """Returns a recorder that chooses the given tokens whatever the logits are."""
        following = iter(tokens)
        return Recorder(lambda logits: next(following))

    def stacked(self) -> Array:
        """Returns the logits of all steps, f32[steps, vocab]."""
        return np.stack(self.logits)


@dataclass(frozen=True, slots=True, eq=False)
class Fed:
    """A conversation in the form that the Thinker reads.

    Attributes:
        embeds: f32[n, hidden].
        heard, seen: encoder features f32[tokens, hidden]; None without sound or pictures.
    """

    prompt: Prompt
    embeds: Array
    heard: Array | None
    seen: Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A Thinker's reply, or its logits on another Thinker's reply.

    Attributes:
        tokens: the tokens of the reply with the end token.
        logits: f32[steps, vocab], from which each token was chosen.
        prompt_rows: f32[n, width], what the Talker reads about the prompt.
        reply_rows: f32[steps - 1, width], what the Talker reads about the tokens.
    """

    tokens: list[int]
    logits: Array
    prompt_rows: Array
    reply_rows: list[Array]


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """A Talker's codec tokens with the end token, and their logits f32[steps, vocab]."""

    drawn: list[int]
    logits: Array
    codes: list[int]


def feed(omni: Omni, messages: Messages) -> Fed:
    """Lays out the prompt of a conversation and encodes its media.

    Raises:
        OmnijetError: messages or media cannot be used.
    """
    prompt = omni.model.prompt(parse_messages(messages))
    model = omni.model
    embeds = model.embed(prompt, 0, prompt.input_ids.size, Clock())
    seen = (*prompt.images, *prompt.videos)
    return Fed(prompt, embeds, _features(model, prompt.sounds), _features(model, seen))


def _features(model: Model, sources: Sequence[EncoderInput]) -> Array | None:
    """Returns encoder features f32[tokens, hidden]; the prompt holds copies of them."""
    made = [model.encode(source, 0, source.fingerprints.size) for source in sources]
    return np.concatenate(made) if made else None


def write(omni: Omni, fed: Fed, tokens: Sequence[int] | None = None) -> Written:
    """Returns the Thinker's most likely reply, or its logits on the given tokens."""
    thinker = omni.model.thinker
    context = thinker.decoder.start(fed.prompt.input_ids.size)
    prefill = thinker.prefill(context, fed.embeds, fed.prompt.positions, fed.prompt.delta)
    if tokens is None:
        vocab = omni.model.dims.thinker.vocab
        greedy = Sampler(THINKER_SAMPLING, vocab, (), np.random.default_rng(0))
        recorder, most = Recorder(greedy), MAX_TEXT_TOKENS
    else:
        recorder, most = Recorder.forced(tokens), len(tokens)
    steps = list(thinker.generate(prefill, recorder, most))
    rows = prompt_rows(fed.embeds, prefill.hidden, fed.prompt.is_encoded)
    return Written(
        recorder.tokens,
        recorder.stacked(),
        rows,
        [step.reply_row for step in steps if step.reply_row is not None],
    )


def speak(
    omni: Omni, fed: Fed, written: Written, voice: str | None, drawn: Sequence[int] | None = None
) -> Spoken | None:
    """Returns the Talker's codes for a reply, drawn as in a conversation, or its logits on the
    given codes; None for a reply of one token, which is not spoken, and without a voice.
    """
    if not written.reply_rows or not omni.model.dims.has_voice:
        return None
    talker = omni.model.talker
    length = fed.prompt.input_ids.size
    _, mark = omni.bundle.voice_id(voice)
    first, *following = written.reply_rows
    rows = np.concatenate([written.prompt_rows, talker.opening_rows(mark, first)])
    positions, delta = fed.prompt.positions_with(2)
    context = talker.decoder.start(len(rows))
    if drawn is None:
        sampling = replace(TALKER_SAMPLING, suppress=(omni.model.dims.codec.bos,))
        drawing = talker.sampler(sampling, length, np.random.default_rng(SEED))
        recorder, most = Recorder(drawing), MAX_CODES
    else:
        recorder, most = Recorder.forced(drawn), len(drawn)
    logits = talker.prefill(context, rows, positions)
    texts = chain(following, talker.end_marks())
    codes = list(talker.generate(context, logits, texts, delta, recorder, most))
    return Spoken(recorder.tokens, recorder.stacked(), codes)
