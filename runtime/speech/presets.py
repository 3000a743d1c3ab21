"""Presets of streamed speech: a trade of quality against cost, by name."""

from __future__ import annotations

from dataclasses import dataclass

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.speech.solver import EXACT, Solver
from omnijet.runtime.speech.vocoder import EXACT_CONTEXT, NEAR_CONTEXT, SHORT_CONTEXT
from omnijet.runtime.speech.windows import GROWING, OFFICIAL, Windows


@dataclass(frozen=True, slots=True)
class SpeechPreset:
    """A trade of quality against cost: solver, windows and vocoder context."""

    name: str
    solver: Solver
    windows: Windows
    context: int  # mel frames that the vocoder sees on each side of those it makes audible
    guess: bool = True  # mel computed ahead serves as context: sound 160 ms earlier


# Of the regular solvers of the same cost, the nearest to the exact mel or wave, measured on
# held-out replies of the trained nano checkpoint (BENCHMARKS.md). Random weights rank solvers
# differently, and real weights may.
HEUN = Solver("heun, 6 steps", "heun", (0, 6, 12, 18, 21, 24, 27))
DPM = Solver("dpm2, 5 steps, guidance every 2nd", "dpm2", (0, 6, 12, 18, 24, 27), every=2)

PRESETS = {
    preset.name: preset
    for preset in (
        SpeechPreset("exact", EXACT, GROWING, EXACT_CONTEXT),
        SpeechPreset("balanced", HEUN, GROWING, NEAR_CONTEXT),
        SpeechPreset("fast", DPM, GROWING, SHORT_CONTEXT),
        SpeechPreset("reference", EXACT, OFFICIAL, NEAR_CONTEXT, guess=False),
    )
}


def speech_preset(name: str) -> SpeechPreset:
    """Returns a preset by name. Raises `OmnijetError` if the name is unknown."""
    if name not in PRESETS:
        raise OmnijetError(
            f"there is no preset {name!r}", expected="one of " + ", ".join(PRESETS), got=repr(name)
        )
    return PRESETS[name]
