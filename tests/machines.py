"""Folders with the files of machines that are not at hand.

Sources: /etc/nv_tegra_release, /proc/device-tree and /proc/swaps as owners of Jetsons posted them
(that of JetPack 7.2 in the same form). Sizes of memory are what such devices report, rounded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
RELEASES = {
    "jp62": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025",
    "jp70": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, "
    "DATE: Fri Aug 22 00:55:42 UTC 2025",
    "jp72": "# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64, "
    "DATE: Mon Jun  1 00:00:00 UTC 2026",
}
PYTHONS = {"jp62": (3, 10), "jp70": (3, 12), "jp72": (3, 12)}
"""Python of the system, by JetPack."""


@dataclass(frozen=True, slots=True)
class Board:
    """A Jetson: its model, what its device tree is compatible with, memory in KiB, CPUs."""

    model: str
    compatible: tuple[str, ...]
    memory_kib: int
    cpus: int


ORIN = ("nvidia,tegra234", "nvidia,tegra23x")
BOARDS = {
    "orin-nano-4": Board("Seeed Orin Nano 4GB", ("nvidia,p3767-0004", *ORIN), 3_700_000, 6),
    "orin-nano": Board(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        ("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", *ORIN), 7_800_000, 6,
    ),
    "orin-nx": Board(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", *ORIN), 16_000_000, 8,
    ),
    "agx-orin-32": Board(
        "NVIDIA Jetson AGX Orin Developer Kit",
        ("nvidia,p3737-0000+p3701-0004", "nvidia,p3701-0004", *ORIN), 31_400_000, 8,
    ),
    "agx-orin-64": Board(
        "NVIDIA Jetson AGX Orin Developer Kit",
        ("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", *ORIN), 64_300_000, 12,
    ),
    "thor": Board(
        "NVIDIA Jetson AGX Thor Developer Kit",
        ("nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"), 128_700_000, 14,
    ),
}  # fmt: skip
CARDS = {
    "workstation": ("NVIDIA GeForce RTX 4090", 89, 24_564 * KIB * KIB),
    "rtx-3060": ("NVIDIA GeForce RTX 3060", 86, 12_288 * KIB * KIB),
    "rtx-5090": ("NVIDIA GeForce RTX 5090", 120, 32_607 * KIB * KIB),
    "t4": ("Tesla T4", 75, 15_360 * KIB * KIB),
    "a100": ("NVIDIA A100-SXM4-80GB", 80, 81_920 * KIB * KIB),
    "h100": ("NVIDIA H100 80GB HBM3", 90, 81_559 * KIB * KIB),
    "dgx-spark": ("NVIDIA GB10", 121, None),
    "pc": None,
}
"""Workstations by name: the card's name, compute capability and bytes as NVML says them; "pc" has
no card."""
FAKES = (
    *(f"{board}-{jetpack}" for jetpack in ("jp62", "jp72") for board in BOARDS if board != "thor"),
    "thor-jp70", "thor-jp72", *CARDS,
)  # fmt: skip


def fake_machine(folder: Path, name: str, free_share: float = 0.8) -> Path:
    """Writes the files of a machine and returns its root.

    Args:
        folder: where the root is made.
        name: one of `FAKES`.
        free_share: share of the memory that is available.
    """
    root = folder / name
    board, _, jetpack = name.rpartition("-")
    if board in BOARDS:
        _write_jetson(root, BOARDS[board], jetpack, free_share)
        return root
    card = CARDS[name]
    arch = "aarch64" if name == "dgx-spark" else "x86_64"
    _write(root, {"proc/sys/kernel/arch": f"{arch}\n", "proc/swaps": _swaps()})
    kib = 125_000_000 if name == "dgx-spark" else 65_000_000
    _write(root, {"proc/meminfo": _meminfo(kib, free_share)})
    if card is not None:
        facts = dict(zip(("name", "compute_capability", "memory_bytes"), card, strict=True))
        _write(root, {"nvml.json": json.dumps(facts)})
    return root


def _write_jetson(root: Path, board: Board, jetpack: str, free_share: float) -> None:
    zram = [f"/dev/zram{n} partition {board.memory_kib // 2 // board.cpus} 0 5"
            for n in range(board.cpus)]  # fmt: skip
    _write(root, {
        "etc/nv_tegra_release": RELEASES[jetpack] + "\n",
        "proc/device-tree/model": board.model + "\0",
        "proc/device-tree/compatible": "".join(f"{name}\0" for name in board.compatible),
        "proc/meminfo": _meminfo(board.memory_kib, free_share),
        "proc/swaps": _swaps(*zram),
        "proc/sys/kernel/arch": "aarch64\n",
    })  # fmt: skip


def _meminfo(kib: int, free_share: float) -> str:
    free = round(kib * free_share)
    return f"MemTotal: {kib:>15} kB\nMemFree: {free // 2:>16} kB\nMemAvailable: {free:>11} kB\n"


def _swaps(*lines: str) -> str:
    return "\n".join(["Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority", *lines]) + "\n"


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
