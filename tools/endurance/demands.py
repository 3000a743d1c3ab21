"""The demands on a long run."""

from __future__ import annotations

from typing import NamedTuple

from tools.endurance.run import Findings, Plan

GROWTH_BYTES = 5_000_000
SLOWER = 1.10  # late over early


class Demand(NamedTuple):
    """One demand, what was found, and whether that meets it."""

    name: str
    limit: str
    found: str
    met: bool


def demands(found: Findings, plan: Plan) -> list[Demand]:
    """Returns every demand: errors, memory, latency and threads."""
    warm, end = found.readings[0], found.readings[-1]
    before, after = found.threads
    return [
        _none(f"{plan.turns} turns without an error", found.turn_faults),
        Demand(
            f"memory from turn {warm.turn} to turn {end.turn}",
            f"+{GROWTH_BYTES / 1e6:.0f} MB",
            f"{found.growth / 1e6:+.2f} MB of {warm.resident / 1e6:.1f} MB",
            found.growth < GROWTH_BYTES,
        ),
        *(_latency(name, found) for name in ("first_pcm", "whole")),
        _none(f"{plan.cancels} cancels, session usable after each", found.cut_faults),
        Demand("threads of the process", f"{before} as when warm", str(after), after <= before),
    ]


def _none(name: str, faults: list[str]) -> Demand:
    return Demand(name, "0", str(len(faults)), not faults)


def _latency(name: str, found: Findings) -> Demand:
    what = f"late over early latency, {name.replace('_', ' ')}"
    if found.early is None or found.late is None:
        return Demand(what, f"{SLOWER:.2f}", "not measured", False)
    early, late = getattr(found.early, name), getattr(found.late, name)
    return Demand(
        what, f"{SLOWER:.2f}", f"{late / early:.3f} ({early:.0f} to {late:.0f} ms)",
        late / early <= SLOWER,
    )  # fmt: skip
