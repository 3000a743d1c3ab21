"""What is noted of a turn: for logs, metrics and whoever asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["chat", "realtime", "speech", "transcription"]
Refusal = Literal["queue", "sessions", "closing"]


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One turn that has ended, well or not. Threads: any thread may use it; it never changes.

    Attributes:
        kind: what asked for it.
        session, turn: identifiers.
        queued_ms: how long it waited for a place.
        total_ms: from the asking to the end, the waiting included.
        latency_ms: from the asking to `first_text`, `first_code` and `first_pcm`, the waiting
            included; `speech_end`, where somebody spoke: from the end of the speech to the first
            PCM.
        timings_ms: time of each stage, as in `Reply.timings_ms`.
        prompt_tokens, reused_tokens: of the whole prompt, and how many a cache held already.
        text_tokens, codes: written and said.
        audio_s: seconds of sound that were made.
        finish_reason: as in `Reply`, or `time` if it took longer than it may; None after an error
            or a refusal.
        refused: why there was no place for it; None if there was one.
        error: what went wrong; None if nothing did.
        prompt, text: what was fed and written; None unless contents are to be kept. Special tokens
            of the prompt are spelled out, a medium's placeholder stands once, with its count.
        prompt_ids: the ids of the prompt; None unless contents are to be kept.
    """

    kind: Kind
    session: str
    turn: str
    queued_ms: float = 0.0
    total_ms: float = 0.0
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    prompt_tokens: int = 0
    reused_tokens: int = 0
    text_tokens: int = 0
    codes: int = 0
    audio_s: float = 0.0
    finish_reason: str | None = None
    refused: Refusal | None = None
    error: str | None = None
    prompt: str | None = None
    text: str | None = None
    prompt_ids: tuple[int, ...] | None = None


Observer = Callable[[TurnRecord], None]
"""Called once for each turn that ended, from any thread. It must not block nor raise."""


def nobody(record: TurnRecord) -> None:
    """Observes nothing."""
