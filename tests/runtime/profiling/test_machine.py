"""What the profile says it was measured on."""

from __future__ import annotations

from pathlib import Path

from runtime.profiling.machine import UNKNOWN, Machine, memory_bytes


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
    assert memory_bytes(tmp_path) == (0, 0)
