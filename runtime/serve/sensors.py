"""Temperature and power of the GPU: from NVML, or from a Jetson's sysfs.

Sources: NVML of the driver (`nvidia-ml-py`); on a Jetson, whose NVML says neither, the thermal
zones of the GPU and the INA3221 power monitors (hwmon), as "Jetson Linux Developer Guide, Power
monitoring" names them. What a machine does not say is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path("/")
MOST_BYTES = 256  # of a file of sysfs that holds a name or a number
_GPU = re.compile(r"gpu", re.IGNORECASE)
_HWMON = "sys/class/hwmon"
_ZONES = "sys/class/thermal"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one sensor says.

    Attributes:
        sensor: its name on this machine: a GPU's number, a thermal zone, a power rail.
        celsius, watts: None if it says nothing about that.
    """

    sensor: str
    celsius: float | None = None
    watts: float | None = None


Sensors = Callable[[], list[Reading]]


def find_sensors(root: Path = ROOT) -> Sensors:
    """Returns what reads the sensors of this machine.

    Args:
        root: the folder that contains /sys.
    """
    if next(_zones(root), None) is not None or next(_rails(root), None) is not None:
        return lambda: [*_zones(root), *_rails(root)]
    library = _nvml()
    return (lambda: []) if library is None else lambda: list(_cards(library))


def _nvml() -> ModuleType | None:
    """Returns NVML's bindings, ready to be asked; None: there is no such library or no GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except Exception:  # the bindings make their classes at run time
        return None
    return pynvml  # type: ignore[no-any-return]


def _cards(nvml: ModuleType) -> Iterator[Reading]:
    count = 0
    with suppress(Exception):  # the driver was updated, say
        count = nvml.nvmlDeviceGetCount()
    for number in range(count):
        celsius = watts = None
        with suppress(Exception):
            card = nvml.nvmlDeviceGetHandleByIndex(number)
            with suppress(Exception):
                celsius = float(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU))
            with suppress(Exception):
                watts = nvml.nvmlDeviceGetPowerUsage(card) / 1e3
        if celsius is not None or watts is not None:
            yield Reading(f"gpu{number}", celsius, watts)


def _zones(root: Path) -> Iterator[Reading]:
    """Yields the thermal zones of a Jetson's GPU."""
    for folder in sorted((root / _ZONES).glob("thermal_zone*")):
        name, milli = _text(folder / "type"), _number(folder / "temp")
        if _GPU.search(name) and milli is not None:
            yield Reading(name, celsius=milli / 1e3)


def _rails(root: Path) -> Iterator[Reading]:
    """Yields the power rails that an INA3221 measures: millivolts and milliamperes."""
    for folder in sorted((root / _HWMON).glob("hwmon*")):
        if _text(folder / "name") != "ina3221":
            continue
        for channel in range(1, 4):
            name = _text(folder / f"in{channel}_label")
            volts, amperes = (_number(folder / f"{kind}{channel}_input") for kind in ("in", "curr"))
            if name and volts is not None and amperes is not None:
                yield Reading(name, watts=volts * amperes / 1e6)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST_BYTES).strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if re.fullmatch(r"-?\d{1,12}", text) else None
