"""Tables of a plan for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from omnijet.deployment.planner.fidelity import WAVE_DB, same_codes
from omnijet.deployment.planner.figure import Figure
from omnijet.deployment.planner.plan import Plan
from omnijet.deployment.planner.ranking import Ranked
from omnijet.engines.targets.target import Target
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.profiling.svg import short


def tables(plan: Plan, target: Target) -> Iterable[Table]:
    """Yields the tables of one plan: memory, building, speed, first sound, limits."""
    yield _memory(plan, target)
    yield _building(plan)
    if plan.speeds:
        yield _figures("speed", plan.speeds.items(), plan.basis)
    if plan.waits:
        total = Figure(plan.first_pcm_s or 0.0, "s")
        rows = [*plan.waits.items(), ("first sound", total)]
        yield _figures(f"a spoken question of 5 s, preset {plan.preset}", rows, plan.basis)
    yield _figures(f"what {plan.context:,} rows hold", plan.limits.items(), None)


def verdict(plan: Plan) -> list[str]:
    """Returns the lines that say whether it fits."""
    lines = ["fits" if plan.fits else "does not fit"]
    lines += [f"  {fault}" for fault in plan.faults]
    return [*lines, *(f"  note: {warning}" for warning in plan.warnings)]


def _memory(plan: Plan, target: Target) -> Table:
    memory = plan.memory
    table = Table("running", "memory", "is", title=f"{target.title}, {plan.recipe}")
    for name, size in memory.running.items():
        table.add_row(name.replace("_", " "), size_text(size), "predicted")
    table.add_section()
    table.add_row("needed", size_text(memory.needed), "predicted")
    if memory.device is not None:
        table.add_row("the machine" if target.device.shared else "the card",
                      size_text(memory.device), "published")  # fmt: skip
        table.add_row("... kept by the system", size_text(memory.system), "estimated")
    return table


def _building(plan: Plan) -> Table:
    table = Table("graph", "on disk", "is", "building takes", "is")
    for name, size in plan.disk.items():
        least, likely = plan.memory.building.get(name, (0, 0))
        building = f"{size_text(least)} to {size_text(likely)}" if likely else ""
        table.add_row(name, size_text(size.value), size.worth, building, "predicted" * bool(likely))
    total = sum(size.value for size in plan.disk.values())
    table.add_section()
    table.add_row("together", size_text(total), "", "one after another", "")
    return table


def _figures(title: str, rows: Iterable[tuple[str, Figure]], basis: str | None) -> Table:
    table = Table(title, "", "is", caption=basis)
    for name, figure in rows:
        unit = f" {figure.unit}" if figure.unit else ""
        table.add_row(name.replace("_", " "), f"{short(figure.value)}{unit}", figure.worth)
    return table


def ranking_table(found: Sequence[Ranked], most: int) -> Table:
    """Returns the best choices; the first is marked."""
    table = Table(
        "", "recipe", "preset", "context", "pictures", "same codes", "wave", "memory",
        "first sound", "decode", "RTF", "fits", caption="times, rates and memory are predicted; "
        "codes and waves were measured on Omnijet-nano",
    )  # fmt: skip
    for place, one in enumerate(found[:most]):
        plan = one.plan
        codes, wait = same_codes(plan.recipe), plan.first_pcm_s
        pace, decode = plan.speeds.get("real-time factor"), plan.speeds.get("decode")
        table.add_row(
            "best" if place == 0 and plan.fits else "", plan.recipe, plan.preset,
            f"{plan.context:,}", "" if one.cells is None else f"{one.cells} cells",
            "" if codes is None else f"{codes:g} %", f"{WAVE_DB[plan.preset]:g} dB",
            size_text(plan.memory.needed), "" if wait is None else f"{short(wait)} s",
            "" if decode is None else f"{short(decode.value)} tok/s",
            "" if pace is None else short(pace.value),
            "yes" if plan.fits else "; ".join(plan.faults),
        )  # fmt: skip
    return table


def overview(rows: Sequence[tuple[Target, Plan]]) -> Table:
    """Returns one row for each target with its recipe."""
    table = Table(
        "target", "machine", "recipe", "memory", "of", "decode", "first sound", "fits",
        caption="memory, rates and times are predicted",
    )  # fmt: skip
    for target, plan in rows:
        usable, wait, decode = plan.memory.usable, plan.first_pcm_s, plan.speeds.get("decode")
        table.add_row(
            target.name, target.title, plan.recipe, size_text(plan.memory.needed),
            "" if usable is None else size_text(usable),
            "" if decode is None else f"{short(decode.value)} tok/s",
            "" if wait is None else f"{short(wait)} s",
            "; ".join((*(plan.faults or ("yes",)), *plan.warnings)),
        )  # fmt: skip
    return table
