"""What a turn produces: a whole reply, or its pieces as they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.talk.clock import Span, StepTimes

FinishReason = Literal["stop", "length", "context", "codes", "cancelled"]
"""Why a reply ends where it does.

`stop`: the model ended text and speech. `length`: `max_text_tokens` cut the text. `context`: the
KV cache is full, which cut text or speech. `codes`: `max_codes` cut the speech. `cancelled`: the
stream was cancelled before it was read to its end.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one turn produced.

    Threads: any thread may use it; omnijet changes nothing of it once it is given out.

    Attributes:
        text: the reply without special tokens, up to a string of `stop`.
        text_ids: generated ids, the end token or those of the stop string included.
        codes: codec tokens, 50 a second.
        audio: f32[samples] in [-1, 1]; empty without speech.
        mel: f32[80, frames] log-mel of the speech, 100 frames a second; empty when streamed.
        prompt_tokens: tokens of the prompt.
        voice: who speaks; None without speech.
        timings_ms: time of each stage that ran.
        latency_ms: from the call to the first_text token, first_code and first_pcm sample
            that could be had; those that never came are missing.
        steps: of each decoding stage, what every step took.
        spans: every stage and step on the clock of the turn.
        finish_reason: why it ends here, see `FinishReason`; `cancelled` if that applies, else the
            first of `cuts`, else `stop`. None while a stream is being read, and after an error.
        cuts: all of `length`, `context` and `codes` that apply, in this order.
        prompt_ids: i64[prompt_tokens], the prompt; placeholders of media are repeated.
        reused_tokens: how many of them, from the first, a cache held before the turn.
        tokens_per_step: tokens of the text for each call of the Thinker after the prefill: 1, or
            more where guesses came true (`Options.lookup`).
    """

    text: str
    text_ids: list[int]
    codes: list[int]
    audio: Array
    sample_rate_hz: int
    mel: Array
    prompt_tokens: int
    voice: str | None
    seed: int
    timings_ms: dict[str, float]
    latency_ms: dict[str, float] = field(default_factory=dict)
    steps: dict[str, StepTimes] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    cuts: tuple[FinishReason, ...] = ()
    prompt_ids: Array = field(default_factory=lambda: np.empty(0, np.int64))
    reused_tokens: int = 0
    tokens_per_step: float = 1.0


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text that was written since the last delta.

    Threads: any thread may use it; it never changes.

    Attributes:
        ids: the tokens since the last delta, the end token or those of a stop string included.
    """

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PcmChunk:
    """Sound that can be played. Chunks follow each other without a gap.

    Threads: any thread may use it; omnijet changes nothing of it once it is given out.

    Attributes:
        samples: f32[n] in [-1, 1].
        start_sample: of the reply, where the chunk begins.
    """

    samples: Array
    start_sample: int
    sample_rate_hz: int
