"""Describes the machine of a measurement: device, power mode, clocks, memory, versions.

Sources: /proc, /sys, and on a Jetson /etc/nv_tegra_release and what
`omnijet.runtime.profiling.jetson` reads. What the system does not report is "unknown".
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime

from omnijet.runtime.machine.memory import usable_bytes
from omnijet.runtime.profiling import jetson

UNKNOWN = "unknown"
NOT_A_JETSON = "not a Jetson"
ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts about a machine that a measurement depends on.

    Attributes:
        jetson_release: first line of /etc/nv_tegra_release; "not a Jetson" elsewhere.
        power_modes: names of this Jetson's power modes, by number.
        governor: governor of the CPUs' clocks.
        cpu_mhz, gpu_mhz, emc_mhz: clocks, "now of most"; EMC is a Jetson's memory.
        memory_bytes: usable memory; 0 if unknown.
    """

    device: str
    processor: str
    cores: int
    system: str
    jetson_release: str
    power_mode: str
    power_modes: dict[str, str]
    governor: str
    cpu_mhz: str
    gpu_mhz: str
    emc_mhz: str
    memory_bytes: int
    versions: dict[str, str]

    @staticmethod
    def read(root: Path = ROOT, tool: jetson.Tool = jetson.run_tool) -> Machine:
        """Reads the facts of this machine.

        Args:
            root: the folder that contains /proc, /sys and /etc.
            tool: runs JetPack's commands.
        """
        processor = _processor(root)
        model = _text(root / "proc/device-tree/model").strip("\0")
        release = _text(root / "etc/nv_tegra_release").split("\n")[0]
        is_jetson = bool(release) or "Jetson" in model
        ask = tool if is_jetson else lambda command: ""
        clocks = jetson.clocks(root, ask)
        return Machine(
            device=model or processor,
            processor=processor,
            cores=os.cpu_count() or 0,
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            jetson_release=release or (UNKNOWN if is_jetson else NOT_A_JETSON),
            power_mode=str(jetson.power_mode(root, ask) or UNKNOWN),
            power_modes=jetson.power_modes(root),
            governor=_governors(root),
            cpu_mhz=str(clocks.get("cpu") or _nominal_mhz(root)),
            gpu_mhz=str(clocks.get("gpu") or UNKNOWN),
            emc_mhz=str(clocks.get("memory") or UNKNOWN),
            memory_bytes=usable_bytes(root),
            versions={
                "omnijet": _version("omnijet"),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
        )

    @property
    def is_jetson(self) -> bool:
        return self.jetson_release != NOT_A_JETSON

    def facts(self) -> list[tuple[str, str]]:
        """Returns the facts as (name, text)."""
        memory = f", {self.memory_bytes / 1e9:.1f} GB" if self.memory_bytes else ""
        clocks = [("CPU", self.cpu_mhz), ("GPU", self.gpu_mhz), ("memory", self.emc_mhz)]
        known = [f"{unit} {mhz} MHz" for unit, mhz in clocks if mhz != UNKNOWN]
        power = f"{self.power_mode}, {self.jetson_release}" if self.is_jetson else NOT_A_JETSON
        return [
            ("device", f"{self.device}, {self.cores} cores{memory}, {self.system}"),
            ("power mode", power),
            ("clocks", ", ".join([*known, f"governor {self.governor}"])),
            ("versions", ", ".join(f"{name} {text}" for name, text in self.versions.items())),
        ]


def machine() -> str:
    """Returns one line that names the machine and the versions."""
    return (
        f"{_processor(ROOT)}, {platform.machine()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, onnxruntime {onnxruntime.__version__}"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return UNKNOWN


def _processor(root: Path) -> str:
    lines = _text(root / "proc/cpuinfo").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine() or UNKNOWN


def _governors(root: Path) -> str:
    """Returns the clock governors of all CPUs, each once."""
    folder = root / "sys/devices/system/cpu"
    found = {_text(path) for path in folder.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(found - {""})) or UNKNOWN


def _nominal_mhz(root: Path) -> str:
    """Returns the CPU clock where cpufreq does not report it."""
    found = re.search(r"cpu MHz\s*:\s*([\d.]+)", _text(root / "proc/cpuinfo"))
    return f"{float(found.group(1)):.0f}" if found else UNKNOWN
