"""The Thinker reads embedded text with pictures and sound, and writes text token by token."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from omnijet.runtime.bundle.contract import Array, widened
from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.model.decoder import Context, Decoder, Ending, Rows
from omnijet.runtime.model.drafts import Drafts
from omnijet.runtime.model.pace import Pace
from omnijet.runtime.model.rope import decode_position
from omnijet.runtime.model.sampling import Sampler, Sampling

_log = logging.getLogger(__name__)

THINKER_SAMPLING = Sampling()
"""The most likely token: the reference's default."""


class TextStep(NamedTuple):
    """One generated token.

    `reply_row` is what the Talker reads of it, f32[hidden]: the token's embedding plus its
    post-norm hidden state. The last token is never fed and has none.
    """

    token: int
    reply_row: Array | None


@dataclass(frozen=True, slots=True)
class ThinkerPrefill:
    """The prompt after prefill."""

    context: Context
    logits: Array  # f32[vocab], of the last prompt row
    hidden: Array  # f32[n, hidden] of the rows fed, after the final norm
    delta: int  # TMRoPE: position of the next row minus rows fed


@dataclass(frozen=True, slots=True)
class Thinker:
    """The text decoder with its embedding table.

    Attributes:
        decoder: over `thinker_step`.
        embedding: mapped table [vocab, hidden], f32, f16 or bits of bf16.
        tokens: special ids.
        pace: what its steps cost, measured as they are made.
    """

    decoder: Decoder
    embedding: Array
    tokens: TokenIds
    pace: Pace = field(default_factory=Pace)

    def embed(self, ids: Array) -> Array:
        """Returns rows of the embedding table: f32[n, hidden], the caller's own."""
        return widened(self.embedding[ids])

    def prefill(
        self, context: Context, embeds: Array, positions: Array, delta: int
    ) -> ThinkerPrefill:
        """Feeds (the rest of) the prompt: embeds f32[n, hidden], positions i64[3, n]."""
        logits, hidden = self.decoder.prefill(context, embeds, positions)
        assert hidden is not None
        return ThinkerPrefill(context, logits.copy(), hidden, delta)

    def generate(
        self,
        prefill: ThinkerPrefill,
        sampler: Sampler,
        max_tokens: int,
        drafts: Drafts | None = None,
    ) -> Generator[TextStep, None, Ending]:
        """Yields tokens until an end token, `max_tokens`, or a full cache; returns which it was.

        Guesses are fed behind a token in the same call. They change no choice: each token is chosen
        by the sampler from the logits behind the token before it, one after the other, and a guess
        that was not chosen is forgotten with all that follow it. So the sampler sees the same
        logits, and makes the same draws, as without guesses.

        Args:
            drafts: guesses of the tokens to come; None: none are made.
        """
        context, logits = prefill.context, prefill.logits
        guessed: list[int] = []  # fed in the last call, behind the token before
        taken = 0  # how many of them came true
        fed: Rows | None = None
        for count in range(1, max_tokens + 1):
            token = sampler(logits)
            if drafts is not None:
                drafts.push(token)
            ending = self._ending(context, token, count == max_tokens)
            if ending is not None:
                if ending == "context":
                    _log.warning("the context is full after %d tokens: the text ends here", count)
                yield TextStep(token, None)
                return ending
            embed = widened(self.embedding[token])
            if taken < len(guessed) and token == guessed[taken]:
                context.check()
                context.accept()
                taken += 1
            else:
                guessed, taken = self._guesses(context, drafts, max_tokens - count), 0
                fed = self._feed(context, embed, guessed, prefill.delta, drafts)
            assert fed is not None and fed.hidden is not None
            yield TextStep(token, embed + fed.hidden[taken])
            logits = fed.logits[taken]
        raise AssertionError("the last token ends the text")

    def _guesses(self, context: Context, drafts: Drafts | None, draws: int) -> list[int]:
        """Returns what is fed behind a token: no more than the draws to come can use, nor what the
        caches hold as they are.
        """
        if drafts is None:
            return []
        room = min(context.state.capacity, self.decoder.context_limit) - context.filled
        return drafts.tokens(context, min(self.decoder.step_rows, draws, room))

    def _feed(
        self,
        context: Context,
        embed: Array,
        guessed: list[int],
        delta: int,
        drafts: Drafts | None,
    ) -> Rows:
        """Feeds a token f32[hidden] and guesses; only the token counts as fed."""
        rows = embed[None]
        if guessed:
            rows = np.concatenate([rows, self.embed(np.array(guessed))])
        began = time.perf_counter()
        fed = self.decoder.step(context, rows, decode_position(context.filled, delta))
        if drafts is not None:
            drafts.note(context, len(rows), time.perf_counter() - began)
        context.rewind(context.filled - len(guessed))
        return fed

    def _ending(self, context: Context, token: int, is_last: bool) -> Ending | None:
        if token in self.tokens.eos:
            return "stop"
        if is_last:
            return "limit"
        return "context" if context.filled >= self.decoder.context_limit else None
