"""The memory that a process may use, and what of it is free.

Sources: proc(5) for /proc/meminfo and /proc/swaps; Documentation/admin-guide/cgroup-v2.rst of Linux
for control groups, such as those of containers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from omnijet.runtime.machine.root import machine_root, text

_GROUPS = Path("sys/fs/cgroup")
_RECLAIMED = re.compile(r"^(?:in)?active_file (\d+)$", re.MULTILINE)


def usable_bytes(root: Path | None = None) -> int:
    """Returns the memory that this process may use: the machine's, or its control group's.

    Args:
        root: the folder that contains /proc and /sys; None: this machine's.

    Returns:
        Bytes; 0 if unknown.
    """
    root = machine_root() if root is None else root
    total = _meminfo(root, "MemTotal")
    limits = [limit for _, limit in _limits(root)]
    return min([*limits, *([] if total is None else [total])], default=0)


def free_bytes(root: Path | None = None) -> int:
    """Returns the memory that a program can get now: free memory, and free swap on disks.

    Swap in zram does not count: it is memory itself, holding compressed pages, and a GPU's pages
    never move there. JetPack swaps into zram by default.

    Args:
        root: the folder that contains /proc and /sys; None: this machine's.

    Returns:
        Bytes; 0 if unknown.
    """
    root = machine_root() if root is None else root
    free = _meminfo(root, "MemAvailable") or 0
    for folder, limit in _limits(root):
        if (used := text(folder / "memory.current")).isdigit():
            files = sum(map(int, _RECLAIMED.findall(text(folder / "memory.stat"))))
            free = min(free, max(0, limit - int(used) + files))
    return free + swap_bytes(root)


def swap_bytes(root: Path | None = None) -> int:
    """Returns the free swap on disks, in bytes."""
    root = machine_root() if root is None else root
    return sum(size - used for name, size, used in _swaps(root) if not _is_zram(name))


def zram_bytes(root: Path | None = None) -> int:
    """Returns the size of the swap in zram, in bytes."""
    root = machine_root() if root is None else root
    return sum(size for name, size, _ in _swaps(root) if _is_zram(name))


def _is_zram(name: str) -> bool:
    return Path(name).name.startswith("zram")


def _swaps(root: Path) -> Iterator[tuple[str, int, int]]:
    """Yields the name, the size and the used bytes of each swap space."""
    for line in text(root / "proc/swaps").splitlines()[1:]:
        name, *columns = line.split()  # a blank in a name is written \040
        if len(columns) >= 3 and columns[1].isdigit() and columns[2].isdigit():
            yield name, 1024 * int(columns[1]), 1024 * int(columns[2])


def _meminfo(root: Path, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+)", text(root / "proc/meminfo"), re.MULTILINE)
    return 1024 * int(found.group(1)) if found else None


def _limits(root: Path) -> Iterator[tuple[Path, int]]:
    """Yields the folder and the limit of each control group that this process is in."""
    groups = root / _GROUPS
    own = re.search(r"^0::/(\S+)", text(root / "proc/self/cgroup"), re.MULTILINE)
    folders = [groups, *([groups / own.group(1)] if own else [])]
    for folder in folders:
        if (limit := text(folder / "memory.max")).isdigit():
            yield folder, int(limit)
    old = groups / "memory"
    if (limit := text(old / "memory.limit_in_bytes")).isdigit():
        yield old, int(limit)
