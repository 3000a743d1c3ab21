"""Each rule speaks with numbers that call for it, and is silent otherwise."""

from __future__ import annotations

import pytest

from runtime.profiling.advice import advise
from tests.runtime.profiling.profiles import FLOORS, result


@pytest.mark.parametrize(
    ("graph_us", "host_us", "rule"),
    [
        (110, 10, "bandwidth-bound"),
        (400, 10, "above-floor"),
        (200, 200, "host-bound"),
        (200, 10, ""),
    ],
)
def test_rules_of_a_step(graph_us: float, host_us: float, rule: str) -> None:
    said = [a.rule for a in advise("text", result(graph_us=graph_us, host_us=host_us), FLOORS)]
    assert said == ([rule] if rule else [])
