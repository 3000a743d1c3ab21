"""The platform: what decides which libraries, numbers and commands work on a machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omnijet.runtime.machine.gpu import CHIPS, Gpu, find_gpu
from omnijet.runtime.machine.jetpack import jetpack_of, parse_release
from omnijet.runtime.machine.memory import free_bytes, usable_bytes
from omnijet.runtime.machine.root import REAL, machine_root, text


@dataclass(frozen=True, slots=True)
class Platform:
    """The facts about a machine and the Python of this process.

    Attributes:
        arch: such as "x86_64" or "aarch64".
        model: the device tree's model; "" where there is none.
        l4t: version of Jetson Linux, such as "36.4.3"; None: no Jetson.
        jetpack: such as "6.2"; None: no Jetson, or an unknown version of Jetson Linux.
        gpu: its name; None: none was found.
        compute_capability: of the GPU, times ten (87 for 8.7); None: unknown.
        gpu_memory_bytes: of a card; None: there is none, or it shares the machine's.
        memory_bytes: usable memory of the machine or of the control group; 0: unknown.
        free_bytes: free memory and free swap on disks, never zram.
        python: major and minor version of this process's Python.
    """

    arch: str
    model: str
    l4t: str | None
    jetpack: str | None
    gpu: str | None
    compute_capability: int | None
    gpu_memory_bytes: int | None
    memory_bytes: int
    free_bytes: int
    python: tuple[int, int]

    @property
    def is_jetson(self) -> bool:
        """Whether this is a Jetson; a container may hide its version of Jetson Linux."""
        of_chips = {gpu.name for gpu in CHIPS.values()}
        return self.l4t is not None or "Jetson" in self.model or self.gpu in of_chips

    @staticmethod
    def read(root: Path | None = None) -> Platform:
        """Reads the facts; what cannot be read is unknown, and nothing is raised.

        Args:
            root: the folder that contains /proc, /sys and /etc; None: the one that
                OMNIJET_MACHINE_ROOT names, else /.
        """
        root = machine_root() if root is None else root
        l4t = parse_release(text(root / "etc/nv_tegra_release"))
        gpu = _gpu_here() if root == REAL else find_gpu(root)
        return Platform(
            arch=text(root / "proc/sys/kernel/arch") or os.uname().machine,
            model=text(root / "proc/device-tree/model"),
            l4t=l4t,
            jetpack=None if l4t is None else jetpack_of(l4t),
            gpu=None if gpu is None else gpu.name,
            compute_capability=None if gpu is None else gpu.compute_capability,
            gpu_memory_bytes=None if gpu is None else gpu.memory_bytes,
            memory_bytes=usable_bytes(root),
            free_bytes=free_bytes(root),
            python=(sys.version_info.major, sys.version_info.minor),
        )


def this_platform() -> Platform:
    """Returns the facts of the machine that this process runs on; free memory is that of now."""
    return Platform.read()


@cache
def _gpu_here() -> Gpu | None:
    """Returns this machine's GPU, which does not change while a process lives."""
    return find_gpu(REAL)
