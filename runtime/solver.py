"""The flow's differential equation: time points and the Runge-Kutta 3/8 rule.

Source: `RungeKutta4ODESolver` and `Qwen2_5OmniToken2WavDiTModel.sample` of transformers
4.57.6. All arithmetic on times is float32, as there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from runtime.contract import Array

FloatArray = npt.NDArray[np.float32]

POINTS = 10
SWAY = -1.0
ONE_THIRD = np.float32(1 / 3)
TWO_THIRDS = np.float32(2 / 3)
EVALUATIONS_PER_STEP = 4

Velocity = Callable[[np.float32, Array], Array]
"""dy/dt at a time and a state."""


def time_points(points: int = POINTS, sway: float = SWAY) -> FloatArray:
    """f32[points] from 0 to 1, denser near 0 for a negative sway."""
    half_pi = np.float32(np.pi / 2)
    # as torch.linspace: from both ends towards the middle, so that the ends are exact
    step = np.float32(1) / np.float32(points - 1)
    forward = np.arange(points, dtype=np.float32) * step
    backward = np.float32(1) - np.arange(points - 1, -1, -1, dtype=np.float32) * step
    even = np.where(np.arange(points) < points // 2, forward, backward).astype(np.float32)
    bent: FloatArray = even + np.float32(sway) * (np.cos(half_pi * even) - np.float32(1) + even)
    return bent


def step_times(start: np.float32, end: np.float32) -> tuple[np.float32, ...]:
    """The four times at which one step evaluates the velocity."""
    step = np.float32(end - start)
    return (
        start,
        np.float32(start + step * ONE_THIRD),
        np.float32(start + step * TWO_THIRDS),
        end,
    )


def evaluation_times() -> FloatArray:
    """The distinct times of all evaluations, ascending: 28 for 9 steps of 4."""
    points = time_points()
    times = {float(time) for start, end in pairwise(points) for time in step_times(start, end)}
    return np.array(sorted(times), np.float32)


def integrate(velocity: Velocity, state: Array, points: FloatArray | None = None) -> Array:
    """Solves from the first time point to the last and returns the final state."""
    for start, end in pairwise(time_points() if points is None else points):
        state = rk4_step(velocity, state, start, end)
    return state


def rk4_step(velocity: Velocity, state: Array, start: np.float32, end: np.float32) -> Array:
    """One step of the 3/8 rule: four evaluations."""
    h = np.float32(end - start)
    t1, t2, t3, t4 = step_times(start, end)
    k1 = velocity(t1, state)
    k2 = velocity(t2, state + h * k1 * ONE_THIRD)
    k3 = velocity(t3, state + h * (k2 - k1 * ONE_THIRD))
    k4 = velocity(t4, state + h * (k1 - k2 + k3))
    following: Array = state + (k1 + np.float32(3) * (k2 + k3) + k4) * h / np.float32(8)
    return following
