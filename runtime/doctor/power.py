"""Power mode, clocks, and whether heat or the supply holds the machine back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from omnijet.runtime.doctor.finding import Finding, note, ok, unknown
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.profiling import jetson

BEST = "MAXN"
"""The name of every Jetson's mode without limits begins so."""
HOT = ("passive", "hot", "critical")
"""Trip points from which on a thermal zone slows the machine down, or stops it."""
FAN = re.compile(r"fan", re.IGNORECASE)
SLOWED = re.compile(r"cpu|gpu|devfreq|throttle", re.IGNORECASE)
"""Cooling devices that lower clocks; a Jetson's are called `cpu-throttle-alert` and the like."""
_WATTS = re.compile(r"\d+(?=W)")
QUERY = ["nvidia-smi", "--query-gpu=clocks_throttle_reasons.active", "--format=csv,noheader"]
REASONS = {
    0x08: "the supply or heat", 0x20: "heat", 0x40: "heat", 0x80: "the supply's brake",
}  # fmt: skip
"""Bits of NVML's reasons for lower clocks. Source: nvmlClocksEventReasons of nvml.h."""
SLOW_DRIVERS = frozenset({"acpi-cpufreq", "cppc_cpufreq"})
"""With these, the governor `powersave` stays at the lowest clock; intel_pstate and amd-pstate-epp
call so what follows the load. Source: Documentation/admin-guide/pm of Linux."""


def power_mode(here: Here) -> Finding | None:
    """Says whether a Jetson is in its fastest power mode."""
    if not here.platform.is_jetson:
        return None
    mode, known = jetson.power_mode(here.root, here.tool), jetson.power_modes(here.root)
    if mode is None:
        return unknown("nvpmodel does not tell the power mode", "sudo nvpmodel -q")
    best = _fastest(known)
    if mode.name.startswith(BEST) or mode.number == best:
        return ok(f"{mode}, the fastest")
    if best is None:
        return unknown(f"{mode}; /etc/nvpmodel.conf does not tell the others", "sudo nvpmodel -q")
    return note(f"{mode}; {known[best]} is faster", f"sudo nvpmodel -m {best}")


def clocks(here: Here) -> Finding | None:
    """Says whether clocks wait for load, which delays the first sound of an idle machine."""
    if not here.platform.is_jetson:
        return _governor(here)
    found = jetson.clocks(here.root, here.tool)
    if not found:
        return unknown("no clock is told", "sudo jetson_clocks --show")
    said = ", ".join(f"{unit} at {clock} MHz" for unit, clock in found.items())
    if all(clock.now >= clock.most for clock in found.values()):
        return ok(said)
    return note(f"{said}: clocks follow the load, and the first sound after a pause comes later",
                "sudo jetson_clocks")  # fmt: skip


def throttling(here: Here) -> Finding | None:
    """Says whether heat or the supply slows the machine down, or has done so since it started."""
    sensors = list(_zones(here))
    hot, slowed = [text for text, is_hot in sensors if is_hot], list(_slowed(here))
    if hot or slowed:
        heat = "; ".join([*hot, *slowed])
        return note(f"too hot, so clocks are lowered: {heat}", _cool(here))
    if events := list(_over_current(here)):
        return note("the supply was overloaded since the start, and clocks were lowered: "
                    f"{', '.join(events)}", _weaker(here))  # fmt: skip
    if not here.platform.is_jetson and (reasons := _card(here)):
        return note(f"the card's clocks are lowered by {reasons}", "nvidia-smi -q -d PERFORMANCE")
    if not sensors:
        return None if not here.platform.is_jetson else unknown("no thermal zone is told")
    return ok(f"not held back ({max(sensors, key=_degrees)[0]})")


def _governor(here: Here) -> Finding | None:
    """Looks at the governors of a workstation's processor."""
    slow = set()
    for folder in (here.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"):
        name, driver = (here.text(f"{folder.relative_to(here.root)}/{file}")
                        for file in ("scaling_governor", "scaling_driver"))  # fmt: skip
        if name == "powersave" and driver in SLOW_DRIVERS:
            slow.add(name)
    if not slow:
        return None
    return note("the governor `powersave` keeps the processor at its lowest clock",
                "sudo cpupower frequency-set -g performance")  # fmt: skip


def _zones(here: Here) -> Iterator[tuple[str, bool]]:
    """Yields "NAME 55.0 C" of each thermal zone, and whether it is above a trip point."""
    for folder in sorted((here.root / "sys/class/thermal").glob("thermal_zone*")):
        name, now = here.text(f"sys/class/thermal/{folder.name}/type"), here.number(folder / "temp")
        if not name or now is None:
            continue
        trips = [
            trip
            for path in folder.glob("trip_point_*_type")
            if here.text(str(path.relative_to(here.root))) in HOT
            and (trip := here.number(path.with_name(f"{path.name[:-5]}_temp")))
        ]
        yield f"{name} {now / 1e3:.1f} C", any(0 < trip <= now for trip in trips)


def _slowed(here: Here) -> Iterator[str]:
    """Yields what cooling devices slow down right now; a fan is none of them."""
    for folder in sorted((here.root / "sys/class/thermal").glob("cooling_device*")):
        name = here.text(f"sys/class/thermal/{folder.name}/type")
        if not name or FAN.search(name) or not SLOWED.search(name):
            continue
        if here.number(folder / "cur_state"):
            yield f"{name} is slowed down"


def _over_current(here: Here) -> Iterator[str]:
    """Yields the events of a Jetson's over-current monitors since its start.

    Source: NVIDIA, Jetson Linux Developer Guide, "Over-Current Event".
    """
    for path in sorted((here.root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        count = here.number(path)
        if count:
            yield f"{path.name.removesuffix('_event_cnt')} {count} times"


def _card(here: Here) -> str:
    """Returns what lowers the clocks of a card, as nvidia-smi says."""
    found = re.search(r"0x([0-9a-fA-F]{1,16})", here.tool(QUERY)) if here.platform.gpu else None
    bits = int(found.group(1), 16) if found else 0
    return " and ".join(dict.fromkeys(text for bit, text in REASONS.items() if bits & bit))


def _cool(here: Here) -> str:
    """Returns what cools the machine, or shows how hot it is."""
    return "sudo jetson_clocks --fan" if here.platform.is_jetson else "sensors"


def _weaker(here: Here) -> str:
    """Returns the line that takes the strongest mode below the one without limits."""
    known = jetson.power_modes(here.root)
    limited = _fastest({key: name for key, name in known.items() if not name.startswith(BEST)})
    return "sudo nvpmodel -q" if limited is None else f"sudo nvpmodel -m {limited}"


def _fastest(modes: Mapping[str, str]) -> str | None:
    """Returns the number of the fastest power mode; None: their names do not tell."""
    watts = {key: int(found[0]) for key, name in modes.items() if (found := _WATTS.match(name))}
    without_limit = [key for key, name in modes.items() if name.startswith(BEST)]
    return next(iter(without_limit), max(watts, key=watts.__getitem__, default=None))


def _degrees(sensor: tuple[str, bool]) -> float:
    return float(sensor[0].split()[-2])
