"""What the profile says it was measured on."""

from __future__ import annotations

from pathlib import Path

from runtime.profiling.machine import UNKNOWN, Machine


def test_a_jetson_tells_its_power_mode_and_clocks(tmp_path: Path) -> None:
    gpu = tmp_path / "sys/class/devfreq/17000000.gpu"
    for path, text in (
        ("proc/device-tree/model", "NVIDIA Jetson Orin NX\0"),
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.0\n"),
        ("var/lib/nvpmodel/status", "pmode:0002"),
        ("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=15W >\n"),
        (f"{gpu}/cur_freq", "306000000"), (f"{gpu}/max_freq", "918000000"),
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    read = Machine.read(tmp_path)
    assert read.device == "NVIDIA Jetson Orin NX" and read.power_mode == "2 15W"
    assert read.gpu_mhz == "306 of 918" and read.jetson_release.startswith("# R36")


def test_what_is_not_told_is_unknown(tmp_path: Path) -> None:
    read = Machine.read(tmp_path)
    assert {read.power_mode, read.governor, read.cpu_mhz, read.gpu_mhz} == {UNKNOWN}
    assert read.memory_bytes == 0


def test_a_container_has_what_its_group_is_given(tmp_path: Path) -> None:
    def told(path: str, text: str) -> int:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return Machine.read(tmp_path).memory_bytes

    assert told("proc/meminfo", "MemTotal:        8000 kB\nMemFree: 10 kB\n") == 8_192_000
    assert told("sys/fs/cgroup/memory.max", "max\n") == 8_192_000
    assert told("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712") == 8_192_000
    assert told("sys/fs/cgroup/memory.max", "7000000\n") == 7_000_000
    assert told("sys/fs/cgroup/mine/memory.max", "6000000\n") == 7_000_000
    assert told("proc/self/cgroup", "0::/mine\n") == 6_000_000
