"""The GPU of this machine, without a start of CUDA.

A Jetson's follows from its chip, which the device tree names. A card is asked through NVML, the
library of the driver that nvidia-smi uses. A start of CUDA would take longer and forbid forks.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import read_json
from omnijet.runtime.machine.root import REAL, text

LIBRARY = "libnvidia-ml.so.1"
RECORDED = "nvml.json"
"""What NVML said of a card, beside the files of a machine that is rehearsed: its facts as JSON."""
_NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE of nvml.h


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU.

    Attributes:
        compute_capability: times ten (87 for 8.7); None: unknown.
        memory_bytes: of a card; None: it shares the machine's, or unknown.
    """

    name: str
    compute_capability: int | None = None
    memory_bytes: int | None = None


CHIPS: Mapping[str, Gpu] = {
    "nvidia,tegra264": Gpu("Thor", 110),
    "nvidia,tegra234": Gpu("Orin", 87),
    "nvidia,tegra194": Gpu("Xavier", 72),
    "nvidia,tegra186": Gpu("TX2", 62),
    "nvidia,tegra210": Gpu("TX1", 53),
}
"""The chip in /proc/device-tree/compatible -> its GPU. Source: NVIDIA, CUDA GPU compute capability;
compatible strings as Jetsons print them."""


def find_gpu(root: Path) -> Gpu | None:
    """Returns the first GPU, or None if none is found. Nothing is raised.

    Args:
        root: the folder that contains /proc; elsewhere than at / no library is asked.
    """
    names = text(root / "proc/device-tree/compatible").split("\0")
    of_chip = next((CHIPS[name] for name in names if name in CHIPS), None)
    if of_chip is not None:
        return of_chip
    return _asked() if root == REAL else _recorded(root / RECORDED)


def _recorded(path: Path) -> Gpu | None:
    try:
        return Gpu(**read_json(path))
    except (OSError, ValueError, TypeError, OmnijetError):
        return None


def _asked() -> Gpu | None:
    """Asks NVML for the first card."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
        if nvml.nvmlInit_v2():
            return None
    except (OSError, AttributeError):  # no driver, or a stub without the function
        return None
    try:
        return _card(nvml)
    except AttributeError:
        return None
    finally:
        nvml.nvmlShutdown()


class _Memory(ctypes.Structure):
    """nvmlMemory_t of nvml.h."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def _card(nvml: Any) -> Gpu | None:
    card = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(card)):
        return None
    name = ctypes.create_string_buffer(_NAME_BYTES)
    if nvml.nvmlDeviceGetName(card, name, _NAME_BYTES):
        return None
    major, minor, memory = ctypes.c_int(), ctypes.c_int(), _Memory()
    failed = nvml.nvmlDeviceGetCudaComputeCapability(card, ctypes.byref(major), ctypes.byref(minor))
    shared = nvml.nvmlDeviceGetMemoryInfo(card, ctypes.byref(memory))  # GB10: not supported
    return Gpu(
        name.value.decode("utf-8", errors="replace"),
        None if failed else 10 * major.value + minor.value,
        None if shared else int(memory.total),
    )
