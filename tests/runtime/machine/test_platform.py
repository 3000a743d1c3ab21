"""The facts of machines, from the files that they have."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from omnijet.runtime.machine.gpu import find_gpu
from omnijet.runtime.machine.jetpack import jetpack_of, parse_release
from omnijet.runtime.machine.memory import free_bytes, usable_bytes, zram_bytes
from omnijet.runtime.machine.platform import Platform, this_platform
from omnijet.runtime.machine.root import VARIABLE
from tests.machines import BOARDS, FAKES, fake_machine


@pytest.mark.parametrize("name", FAKES)
def test_every_fake_is_read_as_itself(name: str, tmp_path: Path) -> None:
    read = Platform.read(fake_machine(tmp_path, name))
    board, _, jetpack = name.rpartition("-")
    is_jetson = board in BOARDS
    assert read.is_jetson == is_jetson and (read.l4t is not None) == is_jetson
    assert read.arch == ("aarch64" if is_jetson or name == "dgx-spark" else "x86_64")
    assert read.python == sys.version_info[:2]
    assert (read.gpu is None) == (name == "pc")
    assert 0 < read.free_bytes < read.memory_bytes
    if is_jetson:
        assert read.jetpack == f"{jetpack[2]}.{jetpack[3]}"
        assert read.model == BOARDS[board].model and read.gpu_memory_bytes is None
        assert read.compute_capability == (110 if board == "thor" else 87)


def test_a_card_tells_its_memory(tmp_path: Path) -> None:
    read = Platform.read(fake_machine(tmp_path, "workstation"))
    assert (read.gpu, read.compute_capability) == ("NVIDIA GeForce RTX 4090", 89)
    assert read.gpu_memory_bytes == 24_564 * 2**20 and read.jetpack is None


def test_the_environment_names_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(fake_machine(tmp_path, "orin-nx-jp72")))
    assert this_platform().jetpack == "7.2" and free_bytes() == this_platform().free_bytes
    monkeypatch.delenv(VARIABLE)
    assert this_platform().arch == os.uname().machine


def test_an_empty_machine_is_unknown_and_no_fault(tmp_path: Path) -> None:
    read = Platform.read(tmp_path)
    assert (read.model, read.l4t, read.gpu, read.memory_bytes, read.free_bytes) == (
        "", None, None, 0, 0,
    )  # fmt: skip
    assert not read.is_jetson


def test_damaged_facts_are_unknown(tmp_path: Path) -> None:
    root = fake_machine(tmp_path, "workstation")
    for damaged in ('{"name": "x", "more": 1}', "[1]", "{", "null"):
        (root / "nvml.json").write_text(damaged)
        assert find_gpu(root) is None
    (root / "proc/swaps").write_text("Filename\n/dev/sda1\n/dev/sda2 partition x y z\n")
    (root / "proc/meminfo").write_bytes(b"\xff\xfeMemTotal: many\n")
    assert usable_bytes(root) == 0 and free_bytes(root) == 0


def test_a_jetson_in_a_container_that_hides_its_release(tmp_path: Path) -> None:
    root = fake_machine(tmp_path, "orin-nano-jp62")
    (root / "etc/nv_tegra_release").unlink()
    (root / "proc/device-tree/model").unlink()
    read = Platform.read(root)
    assert read.is_jetson and read.jetpack is None and read.compute_capability == 87


# -- memory -------------------------------------------------------------------------


def test_zram_is_no_free_memory_and_a_disk_is(tmp_path: Path) -> None:
    root = fake_machine(tmp_path, "orin-nano-jp62")
    available = round(7_800_000 * 0.8) * 1024
    assert free_bytes(root) == available and zram_bytes(root) == 3_900_000 * 1024
    with (root / "proc/swaps").open("a") as file:
        file.write("/swap\\040file file 8000000 1000000 -2\n")
    assert free_bytes(root) == available + 7_000_000 * 1024


def test_a_container_has_the_room_that_its_group_leaves(tmp_path: Path) -> None:
    root = fake_machine(tmp_path, "pc")
    group = root / "sys/fs/cgroup/mine"
    group.mkdir(parents=True)
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("0::/mine\n")
    before = free_bytes(root)
    (group / "memory.max").write_text("max\n")
    assert free_bytes(root) == before
    (group / "memory.max").write_text("8000000000\n")
    assert usable_bytes(root) == 8_000_000_000 and free_bytes(root) == before
    (group / "memory.current").write_text("5000000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 600\nactive_file 400\nfile 7\n")
    assert free_bytes(root) == 3_000_001_000
    (group / "memory.current").write_text("9000000000\n")
    assert free_bytes(root) == 0


# -- JetPack ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("revision", "l4t", "jetpack"),
    [
        ("R36 (release), REVISION: 4.3, GCID: 1", "36.4.3", "6.2"),
        ("R36 (release), REVISION: 4.4", "36.4.4", "6.2"),
        ("R36 (release), REVISION: 4.0", "36.4.0", "6.1"),
        ("R36 (release), REVISION: 5.0", "36.5.0", "6.2"),
        ("R38 (release), REVISION: 2.1", "38.2.1", "7.0"),
        ("R38 (release), REVISION: 4.0", "38.4.0", "7.1"),
        ("R39 (release), REVISION: 2.1", "39.2.1", "7.2"),
        ("R45 (release), REVISION: 1.0", "45.1.0", None),
    ],
)
def test_jetpack_follows_from_jetson_linux(revision: str, l4t: str, jetpack: str | None) -> None:
    assert parse_release(f"# {revision}") == l4t
    assert jetpack_of(l4t) == jetpack


def test_another_text_is_no_release() -> None:
    assert parse_release("") is None and parse_release("# R36 REVISION 4.3") is None
