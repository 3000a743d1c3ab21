"""The solvers that the benchmarks compare, from the reference's down to a ninth of its cost."""

from __future__ import annotations

from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.speech.solver import EXACT, Solver

EVERY_2ND = (*range(0, 27, 2), 27)
FIVE = (0, 6, 12, 18, 24, 27)

CHOICES = (
    EXACT,
    Solver("heun, 9 steps", "heun"),
    Solver("adams2, 14 steps", "adams2", EVERY_2ND),
    PRESETS["balanced"].solver,
    Solver("adams2, 14 steps, guidance every 2nd", "adams2", EVERY_2ND, every=2),
    Solver("heun, 5 steps", "heun", FIVE),
    Solver("dpm2, 9 steps", "dpm2"),
    Solver("adams3, 9 steps", "adams3"),
    Solver("adams2, 9 steps", "adams2"),
    Solver("euler, 9 steps", "euler"),
    Solver("adams2, 9 steps, guidance every 2nd", "adams2", every=2),
    Solver("adams2, 9 steps, guided midway", "adams2", guidance=(0.06, 0.7)),
    Solver("dpm2, 5 steps", "dpm2", FIVE),
    Solver("adams2, 6 steps, guided midway", "adams2", (0, 6, 9, 12, 18, 24, 27), (0.06, 0.7)),
    Solver("euler, 5 steps", "euler", FIVE),
    PRESETS["fast"].solver,
)
