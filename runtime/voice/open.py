"""Chooses a detector of speech."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.voice.detector import Detector, Pauses
from omnijet.runtime.voice.endpoint import Endpoint
from omnijet.runtime.voice.energy import EnergyScorer
from omnijet.runtime.voice.piecewise import PiecewiseDetector
from omnijet.runtime.voice.scorer import Scorer
from omnijet.runtime.voice.silero import SileroScorer

SCORERS: MappingProxyType[str, Callable[[], Scorer]] = MappingProxyType(
    {"silero": SileroScorer, "energy": EnergyScorer}
)
"""Every kind of detector by its name; the first is the one that is taken unless told otherwise."""


def open_detector(
    pauses: Pauses, kind: str = "silero", endpoint: Endpoint | None = None
) -> Detector:
    """Returns a detector with these pauses.

    Args:
        pauses: when speech begins and ends.
        kind: one of `SCORERS`: `silero`, a network that tells speech from other sound, or
            `energy`, which needs no package and takes everything loud for speech.
        endpoint: says when a turn is over; by default, the pause of the settings.

    Raises:
        OmnijetError: its package is not installed, or there is no such kind.
    """
    if kind not in SCORERS:
        raise OmnijetError(
            "there is no such detector of speech", expected=" or ".join(SCORERS), got=kind
        )
    return PiecewiseDetector(SCORERS[kind](), pauses, endpoint)
