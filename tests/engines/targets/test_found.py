"""Every machine finds its target, and its limits are those of its own memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet.engines.targets.devices import DEVICES
from omnijet.engines.targets.found import described, lacking, target_here
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.machine.platform import Platform
from tests.machines import BOARDS, FAKES, fake_machine

CARDS = {
    "workstation": "rtx-4090", "rtx-3060": "rtx-ampere", "rtx-5090": "rtx-5090", "t4": "t4",
    "a100": "a100-80", "h100": "cuda-hopper", "dgx-spark": "dgx-spark", "pc": "cpu",
}  # fmt: skip


@pytest.mark.parametrize("name", FAKES)
def test_every_machine_has_its_target(name: str, tmp_path: Path) -> None:
    platform = Platform.read(fake_machine(tmp_path, name))
    target = target_here(platform)
    assert target is not None and target is TARGETS[CARDS.get(name, name)]
    said = described(platform)
    assert f"{platform.free_bytes / 1e9:.1f} GB free" in said
    assert platform.model in said and ("JetPack" in said) == (name.rpartition("-")[0] in BOARDS)


def card(tmp_path: Path, name: str, capability: int, gib: float | None) -> Platform:
    root = fake_machine(tmp_path, "pc")
    facts = {"name": name, "compute_capability": capability, "memory_bytes": gib and gib * 2**30}
    (root / "nvml.json").write_text(json.dumps(facts))
    return Platform.read(root)


@pytest.mark.parametrize(
    ("name", "capability", "gib", "target", "own_memory"),
    [
        ("NVIDIA GeForce RTX 3090 Ti", 86, 24, "rtx-3090", False),
        ("NVIDIA RTX A6000", 86, 48, "rtx-a6000", False),
        ("NVIDIA L40S", 89, 45, "l40s", False),
        ("NVIDIA L4", 89, 22.5, "cuda-ada", False),
        ("NVIDIA A10", 86, 22.5, "cuda-ampere", False),
        ("NVIDIA A100-PCIE-40GB", 80, 40, "a100-40", False),
        ("NVIDIA A100 80GB PCIe", 80, 80, "a100-80", False),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 89, 16, "rtx-ada", True),
        ("NVIDIA GeForce RTX 4060", 89, 8, "rtx-ada", True),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 89, 16, "rtx-ada", True),
        ("NVIDIA H200", 90, 140, "cuda-hopper", True),
        ("NVIDIA GeForce RTX 2080 Ti", 75, 11, "cuda-turing", True),
    ],
)
def test_a_card_has_the_limits_of_its_memory(
    tmp_path: Path, name: str, capability: int, gib: float, target: str, own_memory: bool
) -> None:
    found = target_here(card(tmp_path, name, capability, gib))
    assert found is not None and found.name == target
    assert (found.memory_gb != TARGETS[target].memory_gb) == own_memory
    if own_memory:
        assert found.memory_gb == pytest.approx(gib * 1.0737, rel=1e-3)
        more = found.memory_gb > (TARGETS[target].memory_gb or 0)
        pairs = [(found.limits[axis], TARGETS[target].limits[axis]) for axis in ("cells", "rows")]
        assert all(mine >= theirs if more else mine <= theirs for mine, theirs in pairs)


def test_the_memory_of_a_target_can_be_given() -> None:
    small, large = TARGETS["rtx-ada"], TARGETS["rtx-ada"].with_memory(24)
    assert large.name == small.name and large.title == small.title
    assert dict(large.limits) == dict(
        replace(small, device=replace(small.device, memory_gb=DEVICES["rtx-4090"].memory_gb)).limits
    )
    assert small.limits != large.limits


def test_a_container_with_less_memory_has_smaller_limits(tmp_path: Path) -> None:
    root = fake_machine(tmp_path, "agx-orin-64-jp62")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory.max").write_text("12000000000\n")
    found = target_here(Platform.read(root))
    assert found is not None and found.name == "agx-orin-32-jp62" and found.memory_gb == 12


def test_custom_boards_are_known_by_their_memory(tmp_path: Path) -> None:
    for name in FAKES:
        root = fake_machine(tmp_path, name)
        if name.rpartition("-")[0] in BOARDS:
            (root / "proc/device-tree/model").write_text("Acme Carrier\0")
            assert target_here(Platform.read(root)) is TARGETS[name]


def test_a_machine_without_a_target_says_why(tmp_path: Path) -> None:
    def without(name: str, **changes: str) -> str:
        root = fake_machine(tmp_path, name)
        for path, text in changes.items():
            (root / path.replace("__", "/")).write_text(text)
        platform = Platform.read(root)
        assert target_here(platform) is None
        return lacking(platform)

    release = "etc__nv_tegra_release"
    jp60 = without("orin-nx-jp62", **{release: "# R36 (release), REVISION: 3.0"})
    assert jp60 == "Orin with JetPack 6.0, which has no target"
    assert "Jetson Linux 50.1" in without(
        "orin-nx-jp62", **{release: "# R50 (release), REVISION: 1"}
    )
    assert "no /etc/nv_tegra_release" in without("orin-nx-jp62", **{release: "?"})
    root = fake_machine(tmp_path, "orin-nx-jp72")
    (root / "proc/device-tree/compatible").write_text("nvidia,p2888\0nvidia,tegra194\0")
    old = Platform.read(root)
    assert target_here(old) is None and "Xavier" in lacking(old)
    new = card(tmp_path, "NVIDIA B200", 100, 180)
    assert target_here(new) is None and "NVIDIA B200" in lacking(new)
