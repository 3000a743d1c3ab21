"""Reads the power mode and clocks of a Jetson from JetPack's own tools.

Sources: `nvpmodel -q` and `jetson_clocks --show` of JetPack 4 to 7. Where a tool is missing or
needs more rights, the files that it reads: /var/lib/nvpmodel/status with /etc/nvpmodel.conf,
and the devfreq and cpufreq folders of /sys.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.machine.root import text as file_text

TIMEOUT_S = 5  # jetson_clocks takes a second or two on a busy device
GPU = re.compile(r"gpu|ga10b|gv11b|gp10b")  # names of the GPU's devfreq folder, from Nano to Thor

# (kind, pattern of its line); the clusters of a Thor's GPU have clocks of their own
_UNITS = (("cpu", r"cpu\d+"), ("gpu", r"gpu(-gpc-\d+)?"), ("memory", "emc"))
_CLOCK_LINE = re.compile(
    r"(?P<unit>[\w-]+):?\s+(Online=(?P<online>\d)\s+)?(Go\w+=\S+\s+)?"
    r"MinFreq=\d+\s+MaxFreq=(?P<most>\d+)\s+CurrentFreq=(?P<now>\d+)"
)

Tool = Callable[[Sequence[str]], str]
"""Returns what a command prints; empty if it is missing or fails."""


@dataclass(frozen=True, slots=True)
class PowerMode:
    """A power mode; `number` is that of nvpmodel, "" if unknown."""

    number: str
    name: str

    def __str__(self) -> str:
        both = self.name and self.number
        return f"{self.name} (mode {self.number})" if both else self.name or self.number


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of one unit, in MHz."""

    now: int
    most: int

    def __str__(self) -> str:
        return f"{self.now} of {self.most}"


def run_tool(command: Sequence[str]) -> str:
    """Runs a command and returns its output; empty if it is missing or fails."""
    found = shutil.which(command[0])
    if found is None or not os.path.isabs(found):  # a tool of the current folder is none
        return ""
    try:
        done = subprocess.run(
            [found, *command[1:]], capture_output=True, text=True, errors="replace",
            timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def power_mode(root: Path, tool: Tool) -> PowerMode | None:
    """Returns the present power mode, or None if it is unknown."""
    return parse_nvpmodel(tool(["nvpmodel", "-q"])) or _power_mode_file(root)


def parse_nvpmodel(text: str) -> PowerMode | None:
    """Parses `nvpmodel -q`: warnings, "NV Power Mode: NAME", and the number on its own line."""
    name = re.search(r"NV ?Power ?Mode:\s*(\S+)", text, re.IGNORECASE)
    if name is None:
        return None
    number = re.search(r"^\s*(\d+)\s*$", text[name.end() :], re.MULTILINE)
    return PowerMode(number.group(1) if number else "", name.group(1).removeprefix("MODE_"))


def power_modes(root: Path) -> dict[str, str]:
    """Returns the names by number from /etc/nvpmodel.conf, without commented lines."""
    listed = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", re.MULTILINE)
    found = listed.findall(file_text(root / "etc/nvpmodel.conf"))
    return {number: name.removeprefix("MODE_") for number, name in found}


def clocks(root: Path, tool: Tool) -> dict[str, Clock]:
    """Returns the known clocks among "cpu", "gpu" and "memory"."""
    return {**_clock_files(root), **parse_jetson_clocks(tool(["jetson_clocks", "--show"]))}


def parse_jetson_clocks(text: str) -> dict[str, Clock]:
    """Parses `jetson_clocks --show`: one line per unit, CPUs in kHz and others in Hz.

    The first online CPU and the first GPU cluster stand for all.
    """
    found: dict[str, Clock] = {}
    for line in text.splitlines():
        if (read := _CLOCK_LINE.match(line.strip())) is None:
            continue
        unit, online = read["unit"].lower(), read["online"]
        kind = next((kind for kind, name in _UNITS if re.fullmatch(name, unit)), None)
        if kind is None or kind in found or online == "0":
            continue
        scale = 10**3 if kind == "cpu" else 10**6
        found[kind] = Clock(int(read["now"]) // scale, int(read["most"]) // scale)
    return found


def _power_mode_file(root: Path) -> PowerMode | None:
    found = re.search(r"pmode:(\d+)", file_text(root / "var/lib/nvpmodel/status"))
    if found is None:
        return None
    number = str(int(found.group(1)))
    return PowerMode(number, power_modes(root).get(number, ""))


def _clock_files(root: Path) -> dict[str, Clock]:
    found = {}
    cpu = root / "sys/devices/system/cpu/cpu0/cpufreq"
    if (clock := _clock(cpu / "scaling_cur_freq", cpu / "cpuinfo_max_freq", 10**3)) is not None:
        found["cpu"] = clock
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        if GPU.search(folder.name):
            clock = _clock(folder / "cur_freq", folder / "max_freq", 10**6)
            if clock is not None:
                found.setdefault("gpu", clock)
    return found


def _clock(now: Path, most: Path, scale: int) -> Clock | None:
    texts = file_text(now), file_text(most)
    if not all(text.isdigit() for text in texts):
        return None
    return Clock(*(int(text) // scale for text in texts))
