"""The flow's differential equation: time points, and solvers as data.

Source of the times and of the Runge-Kutta 3/8 rule: `RungeKutta4ODESolver` and
`Qwen2_5OmniToken2WavDiTModel.sample` of transformers 4.57.6. All arithmetic on times is
float32, as there. The other methods are textbook methods on the same times, because AdaLN
vectors exist for those alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.contract import Array

FloatArray = npt.NDArray[np.float32]
Method = Literal["rk4", "heun", "euler", "adams2", "adams3", "dpm2"]

POINTS = 10
STAGES = 3  # distinct times that each step of the 3/8 rule adds
REFERENCE_POINTS = tuple(range(0, STAGES * (POINTS - 1) + 1, STAGES))
SWAY = -1.0
ONE_THIRD = np.float32(1 / 3)
TWO_THIRDS = np.float32(2 / 3)

Velocity = Callable[[np.float32, Array], Array]
"""dy/dt at a time and a state."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One call of the velocity; a stream keeps its `Past` by `index`."""

    index: int
    time: np.float32
    guided: bool  # both branches run; otherwise the conditioned branch alone
    held: bool = False  # guided by the last difference of branches that was computed

    @property
    def branches(self) -> int:
        return 2 if self.guided else 1


@dataclass(frozen=True, slots=True)
class Solver:
    """How the equation is solved.

    Attributes:
        points: indices of the `evaluation_times` (28) between which it steps, first and last
            included; the reference's 10 time points are every third.
        guidance: range of times, ends included, in which the velocity is guided. Guidance is the
            difference of the branches, so where they agree it costs time for nothing.
        every: 1 in `every` guided evaluations runs the unconditioned branch; the others reuse
            the last difference, because it changes slowly.
    """

    name: str
    method: Method
    points: tuple[int, ...] = REFERENCE_POINTS
    guidance: tuple[float, float] = (0.0, 1.0)
    every: int = 1

    def __post_init__(self) -> None:
        assert self.points[0] == 0 and self.points[-1] == REFERENCE_POINTS[-1], self.points
        assert all(a < b for a, b in pairwise(self.points)) and self.every > 0, self
        known = set(evaluation_times().tolist())
        strange = [e.time for e in self.evaluations if float(e.time) not in known]
        assert not strange, f"solver {self.name}: no AdaLN vectors for times {strange}"

    @property
    def times(self) -> FloatArray:
        """The times between which the solver steps."""
        return evaluation_times()[list(self.points)]

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """All calls of the velocity, in order."""
        return _evaluations(self)

    @property
    def branch_evaluations(self) -> int:
        """The cost: branches summed over the evaluations. The reference's is 72."""
        return sum(evaluation.branches for evaluation in self.evaluations)


@cache
def _evaluations(solver: Solver) -> tuple[Evaluation, ...]:
    times: list[np.float32] = []
    for start, end in pairwise(solver.times):
        match solver.method:
            case "rk4":
                times += step_times(start, end)
            case "heun":
                times += (start, end)
            case _:
                times.append(start)
    low, high = (np.float32(end) for end in solver.guidance)
    evaluations, inside = [], 0
    for index, time in enumerate(times):
        counts = bool(low <= time <= high)
        runs = counts and inside % solver.every == 0
        inside += counts
        evaluations.append(Evaluation(index, time, runs, counts and not runs))
    return tuple(evaluations)


@cache
def time_points(points: int = POINTS, sway: float = SWAY) -> FloatArray:
    """Returns the time points f32[points] from 0 to 1, denser near 0 for a negative sway."""
    half_pi = np.float32(np.pi / 2)
    # like torch.linspace, from both ends towards the middle, so that the ends are exact
    step = np.float32(1) / np.float32(points - 1)
    forward = np.arange(points, dtype=np.float32) * step
    backward = np.float32(1) - np.arange(points - 1, -1, -1, dtype=np.float32) * step
    even = np.where(np.arange(points) < points // 2, forward, backward).astype(np.float32)
    bent: FloatArray = even + np.float32(sway) * (np.cos(half_pi * even) - np.float32(1) + even)
    bent.flags.writeable = False
    return bent


def step_times(start: np.float32, end: np.float32) -> tuple[np.float32, ...]:
    """Returns the four times at which one step of the 3/8 rule evaluates the velocity."""
    step = np.float32(end - start)
    return (
        start,
        np.float32(start + step * ONE_THIRD),
        np.float32(start + step * TWO_THIRDS),
        end,
    )


@cache
def evaluation_times() -> FloatArray:
    """Returns the distinct times of all evaluations of the 3/8 rule, ascending: 28 in 9 steps."""
    points = time_points()
    times = {float(time) for start, end in pairwise(points) for time in step_times(start, end)}
    return np.array(sorted(times), np.float32)


def solve(solver: Solver, velocity: Callable[[Evaluation, Array], Array], state: Array) -> Array:
    """Solves from time 0 to 1; the velocity receives the evaluation and the state."""
    evaluations = iter(solver.evaluations)

    def numbered(time: np.float32, state: Array) -> Array:
        evaluation = next(evaluations)
        assert evaluation.time == time, f"{solver.name}: {evaluation} at time {time}"
        return velocity(evaluation, state)

    return integrate(numbered, state, solver.times, solver.method)


def integrate(velocity: Velocity, state: Array, points: FloatArray, method: Method) -> Array:
    """Solves from the first time point to the last and returns the final state."""
    if method == "dpm2":
        return _dpm_solver(velocity, state, points)
    if method in ORDERS:
        return _adams_bashforth(velocity, state, points, ORDERS[method])
    step = rk4_step if method == "rk4" else heun_step
    for start, end in pairwise(points):
        state = step(velocity, state, start, end)
    return state


def rk4_step(velocity: Velocity, state: Array, start: np.float32, end: np.float32) -> Array:
    """Does one step of the 3/8 rule: four evaluations."""
    h = np.float32(end - start)
    t1, t2, t3, t4 = step_times(start, end)
    k1 = velocity(t1, state)
    k2 = velocity(t2, state + h * k1 * ONE_THIRD)
    k3 = velocity(t3, state + h * (k2 - k1 * ONE_THIRD))
    k4 = velocity(t4, state + h * (k1 - k2 + k3))
    following: Array = state + (k1 + np.float32(3) * (k2 + k3) + k4) * h / np.float32(8)
    return following


def heun_step(velocity: Velocity, state: Array, start: np.float32, end: np.float32) -> Array:
    """Does one step of the trapezoidal rule with an Euler predictor: two evaluations."""
    h = np.float32(end - start)
    k1 = velocity(start, state)
    k2 = velocity(end, state + h * k1)
    following: Array = state + (k1 + k2) * (h / np.float32(2))
    return following


# The number of velocities that a step extrapolates from; 1 is Euler's method.
ORDERS: dict[Method, int] = {"euler": 1, "adams2": 2, "adams3": 3}


def _adams_bashforth(velocity: Velocity, state: Array, points: FloatArray, order: int) -> Array:
    """Integrates the polynomial through the last `order` velocities: one evaluation per step.

    The first steps have fewer velocities and a lower order. Source: Hairer, Norsett,
    Wanner, Solving Ordinary Differential Equations I, section III.5 (variable steps).
    """
    known: list[tuple[np.float32, Array]] = []
    for start, end in pairwise(points):
        known = [*known, (start, velocity(start, state))][-order:]
        weights = _adams_weights([float(time) for time, _ in known], float(start), float(end))
        for weight, (_, slope) in zip(weights, known, strict=True):
            state = state + np.float32(weight) * slope
    return state


def _adams_weights(times: list[float], start: float, end: float) -> list[float]:
    """Returns each velocity's weight: its Lagrange polynomial integrated from start to end."""
    weights = []
    for own in times:
        basis = np.poly1d([1.0])
        for other in times:
            if other != own:
                basis = basis * np.poly1d([1.0, start - other]) / (own - other)
        integral = basis.integ()  # in time since `start`
        weights.append(float(integral(end - start)))
    return weights


def _dpm_solver(velocity: Velocity, state: Array, points: FloatArray) -> Array:
    """Extrapolates where the velocity leads to at time 1: one evaluation per step.

    The extrapolation uses the last two steps and is linear in the logarithm of the
    signal-to-noise ratio, t / (1 - t) on the flow's straight path. The logarithm is infinite at
    both ends, so no later step uses the first one, and the last step extrapolates in time.

    Source: DPM-Solver++(2M), Lu et al., arXiv 2211.01095, algorithm 2.
    """
    before: tuple[np.float32, Array] | None = None
    for start, end in pairwise(points):
        goal = found = state + (np.float32(1) - start) * velocity(start, state)
        if before is not None and before[0] > 0:
            clock = _log_snr if end < 1 else float
            ratio = (clock(end) - clock(start)) / (clock(start) - clock(before[0]))
            goal = found + np.float32(ratio / 2) * (found - before[1])
        before = (start, found)
        left = (np.float32(1) - end) / (np.float32(1) - start)
        state = left * state + (np.float32(1) - left) * goal
    return state


def _log_snr(time: np.float32) -> float:
    return math.log(float(time) / (1 - float(time)))


EXACT = Solver("exact", "rk4")
"""The reference's solver: 36 evaluations of both branches."""
