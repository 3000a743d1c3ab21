"""The assistant has no room for another turn or another session now."""

from __future__ import annotations

from typing import Literal

from omnijet.runtime.errors import OmnijetError


class Busy(OmnijetError):
    """There is no room now; a later try may find some.

    Attributes:
        retry_after_s: when to try again, in whole seconds from 1.
        reason: `queue` (too many turns wait, or one waited too long), `sessions` (too many are
            open), `closing` (the assistant ends).
    """

    def __init__(
        self, reason: Literal["queue", "sessions", "closing"], what: str, retry_after_s: int = 1
    ) -> None:
        super().__init__(what, fix=f"try again in {retry_after_s} s")
        self.reason = reason
        self.retry_after_s = retry_after_s
