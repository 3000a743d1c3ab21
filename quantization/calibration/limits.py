"""How much a calibration runs."""

from __future__ import annotations

from dataclasses import dataclass

ROWS = 512  # rows of the longest prefill step (`decoder.PREFILL_ROWS`), so that all are seen


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is run.

    Attributes:
        text_tokens, codes: most of them in a reply; codes are 50 a second.
        rows: most rows of an activation that one call of a graph adds, evenly spaced.
        conversations: number of conversations, the first ones; None: all.
    """

    text_tokens: int = 128
    codes: int = 256
    rows: int = ROWS
    conversations: int | None = None
