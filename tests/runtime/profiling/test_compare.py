"""Which differences between two profiles count as changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.profiling.compare import compare
from omnijet.runtime.profiling.percentiles import Percentiles
from omnijet.runtime.profiling.record import Profile
from omnijet.runtime.profiling.resident import Resident, Scope
from tests.runtime.profiling.profiles import flat, profile, result


def test_only_what_is_beyond_the_tolerance_is_worse() -> None:
    before = profile(result())
    assert not compare(before, profile(result(pcm=109.0)), 0.1).regressed
    worse = compare(before, profile(result(pcm=111.0)), 0.1)
    assert worse.regressed and not compare(profile(result(pcm=111.0)), before, 0.01).regressed
    assert [c.metric for c in worse.changes if c.verdict == "worse"] == ["first_pcm"]


def test_fewer_codes_a_second_are_worse() -> None:
    slow = replace(result(), rates={"codes_per_s": flat(100.0)})
    assert compare(profile(result()), profile(slow), 0.1).regressed
    assert not compare(profile(slow), profile(result()), 0.1).regressed


def test_other_amounts_of_work_are_said_and_not_compared() -> None:
    longer = replace(result(), codes=800, stages_ms={"dit": flat(9000.0)})
    found = compare(profile(result()), profile(longer), 0.1)
    assert not found.regressed and any("amounts of work" in fact for fact in found.facts)


def test_profiles_without_a_common_scenario_are_refused() -> None:
    with pytest.raises(OmnijetError, match="no scenario in common"):
        compare(profile(result()), profile(result(), "clip"), 0.1)


def test_what_runs_differ_by_among_themselves_is_no_change() -> None:
    def runs(*samples: float) -> Profile:
        outcome = replace(result(), latency_ms={"first_pcm": Percentiles.of(samples)})
        return profile(outcome)

    before = runs(100.0, 100.0, 140.0)
    assert not compare(before, runs(95.0, 130.0, 131.0), 0.1).regressed
    assert compare(before, runs(141.0, 150.0, 160.0), 0.1).regressed
    assert not compare(runs(141.0, 150.0, 160.0), before, 0.1).regressed


def test_another_machine_is_said() -> None:
    before = profile(result())
    after = replace(before, machine=replace(before.machine, power_mode="2 15W"))
    assert compare(before, after, 0.1).facts == ("machine.power_mode: unknown -> 2 15W",)


def test_peaks_of_another_scope_are_not_compared() -> None:
    def held(peak: int, scope: Scope) -> Profile:
        return profile(replace(result(), memory=Resident(0, 0, peak, scope)))

    before = held(100_000_000, "scenario")
    assert compare(before, held(200_000_000, "scenario"), 0.1).regressed
    assert not compare(before, held(105_000_000, "scenario"), 0.01).regressed  # 5 MB are noise
    assert not compare(before, held(200_000_000, "process"), 0.1).regressed
