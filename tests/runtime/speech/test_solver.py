"""Time points against those of transformers, and solvers against their order."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from omnijet.runtime.speech import solver
from omnijet.runtime.speech.solver import EXACT, Method, Solver

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "misc.json").read_text())


def test_time_points_are_golden() -> None:
    np.testing.assert_allclose(solver.time_points(), GOLDEN["sway_time_points"], rtol=1e-6)


def test_time_points_are_the_references_to_two_ulp() -> None:
    times = torch.linspace(0, 1, 10)
    times += -1.0 * (torch.cos(torch.pi / 2 * times) - 1 + times)
    np.testing.assert_array_max_ulp(solver.time_points(), times.numpy(), maxulp=2)


def test_28_distinct_times_serve_36_evaluations() -> None:
    times = solver.evaluation_times()
    assert len(times) == 28 and times[0] == 0 and times[-1] == 1
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize(
    ("method", "order"), [("euler", 1), ("heun", 2), ("adams2", 2), ("adams3", 3), ("rk4", 4)]
)
def test_a_method_has_its_order(method: Method, order: int) -> None:
    """Solves dy/dt = y on [0, 1] in uneven steps: the error falls with that power of the step.

    Steps grow smoothly, as the flow's do, and are few enough for f32 times.
    """
    errors = []
    for points in (9, 17):
        grid = (np.linspace(0, 1, points) ** 1.5).astype(np.float32)
        result = solver.integrate(lambda t, y: y, np.ones(1), grid, method)
        errors.append(abs(result[0] - np.e))
    # the first steps of a multistep method are of lower order
    assert 2 ** (order - 0.6) < errors[0] / errors[1] < 2 ** (order + 0.8)


def test_adams_weights_on_even_steps_are_the_textbooks() -> None:
    np.testing.assert_allclose(solver._adams_weights([0, 1], 1, 2), [-1 / 2, 3 / 2])
    np.testing.assert_allclose(solver._adams_weights([0, 1, 2], 2, 3), [5 / 12, -16 / 12, 23 / 12])


def test_exact_is_the_rule_step_by_step_bit_for_bit() -> None:
    def velocity(time: np.float32, state: np.ndarray) -> np.ndarray:
        return np.sin(state * np.float32(3)) + time

    start = np.random.default_rng(0).standard_normal((7, 5), dtype=np.float32)
    expected = start
    for begin, end in pairwise(solver.time_points()):
        expected = solver.rk4_step(velocity, expected, begin, end)
    seen = []

    def recorded(evaluation: solver.Evaluation, state: np.ndarray) -> np.ndarray:
        seen.append(evaluation)
        return velocity(evaluation.time, state)

    np.testing.assert_array_equal(solver.solve(EXACT, recorded, start), expected)
    assert [e.index for e in seen] == list(range(36))
    assert EXACT.branch_evaluations == 72


def test_guidance_is_evaluated_inside_its_interval_only() -> None:
    half = Solver("half", "adams2", guidance=(0.06, 0.36))
    assert [e.guided for e in half.evaluations] == [False] * 2 + [True] * 4 + [False] * 3
    assert not any(e.held for e in half.evaluations)
    assert half.branch_evaluations == 13


def test_guidance_is_held_between_its_evaluations() -> None:
    held = Solver("held", "adams2", guidance=(0.0, 0.36), every=2)
    assert [e.guided for e in held.evaluations] == [True, False] * 3 + [False] * 3
    assert [e.held for e in held.evaluations] == [False, True] * 3 + [False] * 3
    assert held.branch_evaluations == 12


def test_points_can_be_left_out_and_put_between() -> None:
    sparse = Solver("sparse", "heun", points=(0, 9, 19, 27))
    assert len(sparse.evaluations) == 6
    times = solver.evaluation_times()
    assert sparse.evaluations[1].time == times[9] == sparse.evaluations[2].time
    assert sparse.evaluations[3].time == times[19]


def test_the_references_points_are_every_third_time() -> None:
    np.testing.assert_array_equal(EXACT.times, solver.time_points())


def test_a_solver_that_needs_times_without_tables_is_refused() -> None:
    with pytest.raises(AssertionError, match="no AdaLN vectors"):
        Solver("strange", "rk4", points=(0, 9, 18, 27))


def test_dpm_solver_arrives_at_once_where_every_velocity_points() -> None:
    """A path to one point: every step knows the point, and so does Euler's last step."""
    goal = np.float32([3.0, -1.0])
    start = np.zeros(2, np.float32)

    def velocity(time: np.float32, state: np.ndarray) -> np.ndarray:
        return (goal - state) / (np.float32(1) - time)

    points = solver.evaluation_times()[[0, 9, 27]]
    np.testing.assert_allclose(solver.integrate(velocity, start, points, "dpm2"), goal, rtol=1e-6)


def test_dpm_solver_beats_euler_with_twice_its_steps() -> None:
    """Noise N(0, 1) to data N(m, s^2) on straight paths: velocity and end have closed forms."""
    mean, spread = 1.5, 0.3

    def velocity(time: float, state: np.ndarray) -> np.ndarray:
        time = float(time)
        variance = (1 - time) ** 2 + (time * spread) ** 2
        slope = (time * spread**2 - (1 - time)) / variance
        return mean + slope * (state - time * mean)

    start = np.linspace(-2, 2, 9)

    def error(method: Method, steps: int) -> float:
        points = np.linspace(0, 1, steps + 1).astype(np.float32)
        found = solver.integrate(velocity, start, points, method)
        return float(np.abs(found - (mean + spread * start)).max())

    for steps in (6, 12, 24, 48):
        assert error("dpm2", steps) < error("euler", 2 * steps)
    assert error("dpm2", 6) < error("adams2", 6) / 1.5  # where steps are few
    assert error("dpm2", 96) < error("dpm2", 24) / 8
