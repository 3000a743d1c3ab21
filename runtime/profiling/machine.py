"""What was measured on: the device, its power mode and clocks, memory, versions.

Sources: /proc, /sys, and on a Jetson /etc/nv_tegra_release, /var/lib/nvpmodel/status with
/etc/nvpmodel.conf. What a system does not tell is "unknown".
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

UNKNOWN = "unknown"
ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts that a measurement depends on; clocks in MHz, memory that may be used in bytes
    (0: unknown)."""

    device: str
    processor: str
    cores: int
    system: str
    jetson_release: str
    power_mode: str
    governor: str
    cpu_mhz: str
    gpu_mhz: str
    memory_bytes: int
    versions: dict[str, str]

    @staticmethod
    def read(root: Path = ROOT) -> Machine:
        """Of this machine; `root` is where /proc, /sys and /etc are looked for."""
        processor = _processor(root)
        model = _text(root / "proc/device-tree/model").strip("\0")
        return Machine(
            device=model or processor,
            processor=processor,
            cores=os.cpu_count() or 0,
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            jetson_release=_text(root / "etc/nv_tegra_release").split("\n")[0] or UNKNOWN,
            power_mode=_power_mode(root),
            governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
            or UNKNOWN,
            cpu_mhz=_cpu_mhz(root),
            gpu_mhz=_gpu_mhz(root),
            memory_bytes=_memory(root),
            versions={
                "omnijet": _version("omnijet"),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
        )


def machine() -> str:
    """The line that says what was measured on what."""
    return (
        f"{_processor(ROOT)}, {platform.machine()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, onnxruntime {onnxruntime.__version__}"
    )


def _memory(root: Path) -> int:
    """Bytes that this process may have: the machine's, or what its control group is given."""
    total = re.search(r"MemTotal:\s+(\d+)", _text(root / "proc/meminfo"))
    groups = root / "sys/fs/cgroup"
    own = re.search(r"^0::/(\S+)", _text(root / "proc/self/cgroup"), re.MULTILINE)
    limits = [
        _text(path)
        for path in (
            groups / "memory.max",
            groups / (own.group(1) if own else ".") / "memory.max",
            groups / "memory/memory.limit_in_bytes",
        )
    ]
    known = [int(limit) for limit in limits if limit.isdigit()]
    known += [1024 * int(total.group(1))] if total else []
    return min(known, default=0)


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


def _power_mode(root: Path) -> str:
    mode = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status"))
    if mode is None:
        return UNKNOWN
    number = int(mode.group(1))
    conf = _text(root / "etc/nvpmodel.conf")
    name = re.search(rf"POWER_MODEL ID={number} NAME=(\S+)", conf)
    return f"{number} {name.group(1)}" if name else str(number)


def _cpu_mhz(root: Path) -> str:
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    now, most = (_text(folder / f"{name}_freq") for name in ("scaling_cur", "cpuinfo_max"))
    if now.isdigit() and most.isdigit():
        return f"{int(now) // 1000} of {int(most) // 1000}"
    told = re.search(r"cpu MHz\s*:\s*([\d.]+)", _text(root / "proc/cpuinfo"))
    return f"{float(told.group(1)):.0f}" if told else UNKNOWN


def _gpu_mhz(root: Path) -> str:
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        now, most = (_text(folder / f"{name}_freq") for name in ("cur", "max"))
        if re.search(r"gpu|ga10b|gv11b", folder.name) and now.isdigit() and most.isdigit():
            return f"{int(now) // 10**6} of {int(most) // 10**6}"
    return UNKNOWN
