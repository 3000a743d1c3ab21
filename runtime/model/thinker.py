"""The Thinker reads embedded text with pictures and sound, and writes text token by token."""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

from omnijet.runtime.bundle.contract import Array, widened
from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.model.decoder import Context, Decoder, Ending
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
    """

    decoder: Decoder
    embedding: Array
    tokens: TokenIds

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
        self, prefill: ThinkerPrefill, sampler: Sampler, max_tokens: int
    ) -> Generator[TextStep, None, Ending]:
        """Yields tokens until an end token, `max_tokens`, or a full cache; returns which it was."""
        context, logits = prefill.context, prefill.logits
        for count in range(1, max_tokens + 1):
            token = sampler(logits)
            ending = self._ending(context, token, count == max_tokens)
            if ending is not None:
                if ending == "context":
                    _log.warning("the context is full after %d tokens: the text ends here", count)
                yield TextStep(token, None)
                return ending
            embed = widened(self.embedding[token])
            position = decode_position(context.filled, prefill.delta)
            logits, hidden = self.decoder.decode(context, embed, position)
            assert hidden is not None
            yield TextStep(token, embed + hidden[0])
        raise AssertionError("the last token ends the text")

    def _ending(self, context: Context, token: int, is_last: bool) -> Ending | None:
        if token in self.tokens.eos:
            return "stop"
        if is_last:
            return "limit"
        return "context" if context.filled >= self.decoder.context_limit else None
