"""The target of the machine that this process runs on."""

from __future__ import annotations

import re

from omnijet.engines.targets.devices import DEVICES
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.runtime.machine.platform import Platform

AUTO = "auto"
"""The word that asks for the target of this machine."""
_ORIN, _THOR = 87, 110
_FAMILIES = {
    75: "cuda-turing", 80: "a100-40", 86: "rtx-ampere", 89: "rtx-ada", 90: "cuda-hopper",
    120: "rtx-blackwell", 121: "dgx-spark",
}  # fmt: skip
"""Compute capability -> the target of a card that has no row of its own."""
_TOOLKITS = {"6.1": "jp62", "6.2": "jp62", "7.0": "jp70", "7.1": "jp70", "7.2": "jp72"}
"""JetPack -> its toolkit. JetPack 6.0 has TensorRT 8.6, which is too old."""
_SIZE = re.compile(r"[ -](?:PCI[eE][ -])?\d+ ?GB(?: HBM\d\w?)?$")
_NEAR = 0.8
"""Share of a device's memory below which this process has a smaller machine: a container, say."""


def target_here(platform: Platform) -> Target | None:
    """Returns the target of a machine; its limits are those of the memory that was found.

    Without a GPU that is the CPU's.

    Returns:
        None: no target fits, such as for an older Jetson; `lacking` says why.
    """
    if platform.is_jetson:
        return _jetson(platform)
    if platform.gpu is None:
        return TARGETS["cpu"]
    card = _card(platform)
    gigabytes = (platform.gpu_memory_bytes or 0) / 1e9
    if card is None or not gigabytes:
        return card
    known = card.memory_gb or 0
    # a card of 24 GB says 25.8 or, where some of it is reserved, 23.6
    return card if _NEAR * known < gigabytes < known / _NEAR else card.with_memory(gigabytes)


def lacking(platform: Platform) -> str:
    """Returns why a machine has no target, as one phrase."""
    if not platform.is_jetson:
        return f"{platform.gpu}, for which no target is known"
    if platform.compute_capability not in (_ORIN, _THOR):
        return f"a Jetson with {platform.gpu or 'an unknown GPU'}; Orin and Thor have targets"
    if platform.jetpack is None:
        of = f"Jetson Linux {platform.l4t}" if platform.l4t else "no /etc/nv_tegra_release"
        return f"{of}: the version of JetPack is not known"
    return f"{platform.gpu} with JetPack {platform.jetpack}, which has no target"


def described(platform: Platform) -> str:
    """Returns what was found, in one line: machine, JetPack or card, memory, what of it is free."""
    parts = [platform.model or platform.gpu or f"{platform.arch} without an NVIDIA GPU"]
    if platform.model and platform.gpu and not platform.is_jetson:
        parts.append(platform.gpu)
    if platform.l4t is not None:
        parts.append(f"JetPack {platform.jetpack or 'unknown'} (Jetson Linux {platform.l4t})")
    if platform.gpu_memory_bytes is not None:
        parts.append(f"{platform.gpu_memory_bytes / 1e9:.1f} GB on the card")
    parts.append(f"{platform.memory_bytes / 1e9:.1f} GB of memory")
    parts.append(f"{platform.free_bytes / 1e9:.1f} GB free")
    return ", ".join(parts)


def _jetson(platform: Platform) -> Target | None:
    name = _board(platform)
    toolkit = _TOOLKITS.get(platform.jetpack or "")
    target = TARGETS.get(f"{name}-{toolkit}")
    if target is None:
        return None
    gigabytes = platform.memory_bytes / 1e9
    known = target.memory_gb or 0
    return target.with_memory(gigabytes) if 0 < gigabytes < _NEAR * known else target


def _board(platform: Platform) -> str | None:
    """Returns the device: by its model where that names one, else by its memory."""
    gigabytes = platform.memory_bytes / 1e9
    if platform.compute_capability == _THOR:
        return "thor"
    if platform.compute_capability != _ORIN:
        return None
    for word, small, large, least in (
        ("AGX", "agx-orin-32", "agx-orin-64", 40), ("NX", "orin-nx-8", "orin-nx", 10),
        ("Nano", "orin-nano-4", "orin-nano", 5),
    ):  # fmt: skip
        if re.search(rf"\b{word}\b", platform.model):
            return large if gigabytes > least else small
    if gigabytes > 20:
        return "agx-orin-64" if gigabytes > 40 else "agx-orin-32"
    if gigabytes > 10:
        return "orin-nx"
    return "orin-nano" if gigabytes > 5 else "orin-nano-4"


def _card(platform: Platform) -> Target | None:
    """Returns the target of a card by its name, else by its compute capability."""
    name = re.sub(r"^(NVIDIA |GeForce |Tesla )+", "", platform.gpu or "")
    for device in DEVICES.values():
        if name in device.cards or _SIZE.sub("", name) in device.cards:
            return TARGETS[device.name]
    family = _FAMILIES.get(platform.compute_capability or 0)
    return None if family is None else TARGETS[family]
