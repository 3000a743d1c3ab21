"""Compares two profiles: what changed, and whether it got worse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.profiling.measure import Result
from omnijet.runtime.profiling.percentiles import Percentiles
from omnijet.runtime.profiling.record import Profile

MANY = 100  # with this many samples, medians need no check of their spread
Verdict = Literal["same", "better", "worse"]
PER_SECOND = ("text_tokens_per_s", "codes_per_s")
RISING = (*PER_SECOND, "tokens_per_step")  # higher is better
# smaller differences are noise, by unit
LEAST = {"ms": 0.5, "µs": 10.0, "/s": 0.0, "x": 0.01, "B": 16e6}


@dataclass(frozen=True, slots=True)
class Change:
    """One number of both profiles; `ratio` is after / before."""

    scenario: str
    metric: str
    unit: str
    before: float
    after: float
    ratio: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """Changed numbers, and what else differs between two profiles.

    Attributes:
        facts: differences of machine, versions, bundle, settings, reply lengths and scenarios.
        changes: the numbers that both profiles have.
    """

    facts: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def regressed(self) -> bool:
        return any(change.verdict == "worse" for change in self.changes)


def compare(before: Profile, after: Profile, tolerance: float) -> Comparison:
    """Compares the medians of two profiles.

    Args:
        tolerance: relative difference that counts as equal, 0.1 is 10 %.

    Raises:
        OmnijetError: the profiles have no scenario in common.
    """
    shared = [name for name in before.scenarios if name in after.scenarios]
    if not shared:
        raise OmnijetError(
            "the profiles have no scenario in common",
            expected=", ".join(before.scenarios) or "a scenario",
            got=", ".join(after.scenarios) or "none",
            fix="measure both with the same --scenario",
        )
    facts = list(_facts(before, after))
    changes = []
    for name in shared:
        old, new = before.scenarios[name], after.scenarios[name]
        same_work = (old.prompt_tokens, old.text_tokens, old.codes) == (
            new.prompt_tokens, new.text_tokens, new.codes,
        )  # fmt: skip
        if not same_work:
            facts.append(f"{name}: other amounts of work, stages and whole are not compared")
        new_metrics = dict(_metrics(new, same_work))
        for (metric, unit), value in _metrics(old, same_work):
            if (metric, unit) in new_metrics:
                pair = value, new_metrics[metric, unit]
                changes.append(_change(name, metric, unit, *pair, tolerance))
    return Comparison(tuple(facts), tuple(changes))


def _metrics(result: Result, same_work: bool) -> Iterator[tuple[tuple[str, str], Percentiles]]:
    for name, percentiles in result.latency_ms.items():
        if same_work or name != "whole":
            yield (name, "ms"), percentiles
    for name, percentiles in result.rates.items():
        yield (name, "/s" if name in PER_SECOND else "x"), percentiles
    for name, step in result.steps.items():
        yield (f"{name} step", "µs"), step.total_us
    if same_work:
        for name, percentiles in result.stages_ms.items():
            yield (name, "ms"), percentiles
    if (memory := result.memory).peak:  # peaks of different scopes do not compare
        yield (f"peak memory of the {memory.scope}", "B"), Percentiles.of([float(memory.peak)])


def _change(
    scenario: str, metric: str, unit: str, before: Percentiles, after: Percentiles, tolerance: float
) -> Change:
    """Compares one number of both profiles.

    A difference counts if it exceeds the tolerance and the variation among the runs of each
    profile.
    """
    old, new = before.p50, after.p50
    verdict: Verdict = "same"
    if abs(new - old) > max(tolerance * abs(old), LEAST[unit]) and _apart(before, after):
        verdict = "better" if (new > old) == (metric in RISING) else "worse"
    return Change(scenario, metric, unit, old, new, new / old if old else 1.0, verdict)


def _apart(one: Percentiles, other: Percentiles) -> bool:
    """Returns whether the samples separate two medians: neither lies among the other's samples."""
    if min(one.count, other.count) >= MANY or one.count == other.count == 1:
        return True
    low, high = sorted((one, other), key=lambda percentiles: percentiles.p50)
    return low.most < high.p50 and low.p50 < high.least


def _facts(before: Profile, after: Profile) -> Iterator[str]:
    for part in ("machine", "bundle", "settings"):
        old, new = asdict(getattr(before, part)), asdict(getattr(after, part))
        for key in old:
            if old[key] != new[key]:
                yield f"{part}.{key}: {old[key]} -> {new[key]}"
    for name in before.scenarios.keys() ^ after.scenarios.keys():
        yield f"{name}: only in {'the first' if name in before.scenarios else 'the second'}"
