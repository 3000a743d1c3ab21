"""The machine that a profile describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omnijet.runtime.profiling.machine import NOT_A_JETSON, UNKNOWN, Machine


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def silent(command: Sequence[str]) -> str:
    return ""


def test_a_jetson_tells_its_power_mode_and_clocks(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin NX\0",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0\n",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=15W >\n",
            "sys/class/devfreq/17000000.gpu/cur_freq": "306000000",
            "sys/class/devfreq/17000000.gpu/max_freq": "918000000",
        },
    )
    read = Machine.read(tmp_path, lambda command: "NV Power Mode: MODE_15W\n2\n")
    assert read.device == "NVIDIA Jetson Orin NX" and read.power_mode == "15W (mode 2)"
    assert read.power_modes == {"0": "MAXN", "2": "15W"}
    assert read.gpu_mhz == "306 of 918" and read.jetson_release.startswith("# R36")
    facts = dict(read.facts())
    assert facts["power mode"].startswith("15W (mode 2), # R36")
    assert "GPU 306 of 918 MHz" in facts["clocks"]


def test_elsewhere_it_is_no_jetson_and_its_tools_are_not_asked(tmp_path: Path) -> None:
    def never(command: Sequence[str]) -> str:
        raise AssertionError(command)

    read = Machine.read(tmp_path, never)
    assert not read.is_jetson and dict(read.facts())["power mode"] == NOT_A_JETSON
    assert {read.power_mode, read.governor, read.cpu_mhz, read.gpu_mhz, read.emc_mhz} == {UNKNOWN}
    assert dict(read.facts())["clocks"] == "governor unknown"


def test_governors_of_all_cpus_are_said(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    write(tmp_path, {folder.format(0): "schedutil\n", folder.format(1): "performance\n"})
    assert Machine.read(tmp_path, silent).governor == "performance, schedutil"


def test_a_virtual_machine_tells_its_nominal_clock(tmp_path: Path) -> None:
    write(tmp_path, {"proc/cpuinfo": "model name\t: Some CPU\ncpu MHz\t\t: 2600.002\n"})
    read = Machine.read(tmp_path, silent)
    assert (read.cpu_mhz, read.processor) == ("2600", "1 x Some CPU")


def test_a_container_has_what_its_group_is_given(tmp_path: Path) -> None:
    def usable(path: str, text: str) -> int:
        write(tmp_path, {path: text})
        return Machine.read(tmp_path, silent).memory_bytes

    assert usable("proc/meminfo", "MemTotal:        8000 kB\nMemFree: 10 kB\n") == 8_192_000
    assert usable("sys/fs/cgroup/memory.max", "max\n") == 8_192_000
    assert usable("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712") == 8_192_000
    assert usable("sys/fs/cgroup/memory.max", "7000000\n") == 7_000_000
    assert usable("sys/fs/cgroup/mine/memory.max", "6000000\n") == 7_000_000
    assert usable("proc/self/cgroup", "0::/mine\n") == 6_000_000
