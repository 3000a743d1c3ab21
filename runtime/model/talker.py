"""The Talker reads what the Thinker read and wrote, and writes codec tokens (50 a second)."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np

from omnijet.runtime.bundle.contract import Array, widened
from omnijet.runtime.bundle.dims import CodecIds, TokenIds
from omnijet.runtime.model.decoder import Context, Decoder, Ending
from omnijet.runtime.model.rope import decode_position
from omnijet.runtime.model.sampling import Sampler, Sampling

_log = logging.getLogger(__name__)

TALKER_SAMPLING = Sampling(
    greedy=False, repetition_penalty=1.05, temperature=0.9, top_k=40, top_p=0.8
)
"""The reference's defaults (Qwen2_5OmniForConditionalGeneration.generate)."""


@dataclass(frozen=True, slots=True)
class Talker:
    """The codec decoder with the tables that it reads.

    Attributes:
        decoder: over `talker_step`.
        codec_embedding: mapped table [codec vocab, embed_width], as the Thinker's.
        text_embedding: the Thinker's mapped table, for the text-side marks.
    """

    decoder: Decoder
    codec_embedding: Array
    text_embedding: Array
    tokens: TokenIds
    codec: CodecIds

    def opening_rows(self, voice_token: int, first_reply: Array) -> Array:
        """Returns the two rows that follow the prompt: f32[2, embed_width].

        They are the speaker's mark with the pad code, and the first reply row with the start code.

        Args:
            voice_token: the speaker's text-side opening id.
            first_reply: f32[width], the reply row of the first generated token.
        """
        voice = self._text(voice_token) + self._codec(self.codec.pad)
        return np.stack([voice, first_reply + self._codec(self.codec.bos)])

    def end_marks(self) -> Iterator[Array]:
        """Yields what is added to codec tokens after the text: the end mark, then pad marks."""
        pad = self._text(self.tokens.tts_pad)
        return chain([self._text(self.tokens.tts_eos)], repeat(pad))

    def sampler(self, sampling: Sampling, prompt: int, rng: np.random.Generator) -> Sampler:
        """Returns a sampler with the reference's penalty history.

        The history is mask ids for the prompt, then pad and start, so that pad (an end token) is
        penalised from the first step.
        """
        history = [self.codec.mask] * min(prompt, 1) + [self.codec.pad, self.codec.bos]
        return Sampler(sampling, self.decoder.dims.vocab, history, rng)

    def prefill(self, context: Context, rows: Array, positions: Array) -> Array:
        """Feeds rows f32[n, embed_width] at i64[3, n]. Returns logits f32[vocab]."""
        return self.decoder.prefill(context, rows, positions).logits.copy()

    def generate(
        self,
        context: Context,
        logits: Array,
        texts: Iterator[Array],
        delta: int,
        sampler: Sampler,
        max_codes: int,
    ) -> Generator[int, None, Ending]:
        """Yields codec tokens until an end token, the limit, or a full cache; returns which it was.

        `texts` is endless: the reply rows after the first, then `end_marks`. One is added to each
        codec token, and is taken after the code.

        The reference always drops the last token it generated, even at the limit: with
        `max_codes` draws at most `max_codes - 1` codes come out.
        """
        for step in range(max_codes):
            code = sampler(logits)
            if code in self.codec.ends:
                return "stop"
            if step == max_codes - 1:
                break
            if context.filled >= self.decoder.context_limit:
                _log.warning("the context is full after %d codes: the speech ends here", step)
                return "context"
            yield code
            text = next(texts)
            position = decode_position(context.filled, delta)
            logits = self.decoder.decode(context, self._codec(code) + text, position).logits
        return "limit"

    def _codec(self, code: int) -> Array:
        return widened(self.codec_embedding[code])

    def _text(self, token: int) -> Array:
        return widened(self.text_embedding[token])


def prompt_rows(embeds: Array, hidden: Array, is_encoded: Array) -> Array:
    """Returns what the Talker reads of a prompt: f32[n, embed_width].

    It is the Thinker's input plus its hidden state; of media the Talker hears through the hidden
    state alone (`Qwen2_5OmniForConditionalGeneration.generate` of transformers 4.57.6).

    Args:
        embeds: f32[n, width], the Thinker's merged inputs.
        hidden: f32[n, width], its post-norm hidden states.
        is_encoded: bool[n], True where an encoder made the row.
    """
    rows: Array = np.where(is_encoded[:, None], np.float32(0), embeds) + hidden
    return rows
