"""What is asked."""

from __future__ import annotations

import pytest

from runtime.errors import OmnijetError
from runtime.profiling.scenarios import SCENARIOS, chosen


def test_an_unknown_scenario_names_its_neighbour() -> None:
    assert [s.name for s in chosen(["clip", "text", "clip"])] == ["clip", "text"]
    assert len(chosen(None)) == len(SCENARIOS) == 8
    with pytest.raises(OmnijetError, match="did you mean 'picture'"):
        chosen(["pictur"])
