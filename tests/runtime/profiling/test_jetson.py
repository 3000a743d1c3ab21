"""The output of JetPack's tools, from Nano to Thor, is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from omnijet.runtime.profiling.jetson import (
    Clock,
    PowerMode,
    clocks,
    parse_jetson_clocks,
    parse_nvpmodel,
    power_mode,
    power_modes,
    run_tool,
)

NANO = """\
SOC family:tegra210  Machine:NVIDIA Jetson Nano Developer Kit
Online CPUs: 0-1
CPU Cluster Switching: Disabled
cpu0: Online=0 Governor=schedutil MinFreq=102000 MaxFreq=918000 CurrentFreq=102000 \
IdleStates: WFI=1 c7=1
cpu1: Online=1 Governor=schedutil MinFreq=102000 MaxFreq=1428000 CurrentFreq=1326000 \
IdleStates: WFI=1 c7=1
GPU MinFreq=76800000 MaxFreq=921600000 CurrentFreq=153600000
EMC MinFreq=204000000 MaxFreq=1600000000 CurrentFreq=1600000000 FreqOverride=0
Fan: PWM=0
NV Power Mode: MAXN
"""
ORIN = """\
SOC family:tegra234  Machine:Jetson AGX Orin Developer Kit
Online CPUs: 0-11
cpu0: Online=1 Governor=schedutil MinFreq=729600 MaxFreq=2201600 CurrentFreq=1190400 \
IdleStates: WFI=1 c7=1
cpu1: Online=1 Governor=schedutil MinFreq=729600 MaxFreq=2201600 CurrentFreq=2201600 \
IdleStates: WFI=1 c7=1
GPU MinFreq=306000000 MaxFreq=1300500000 CurrentFreq=306000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=2133000000 FreqOverride=0
DLA0_CORE:   Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1600000000
PVA0_AXI:  Online=1 MinFreq=0 MaxFreq=832000000 CurrentFreq=832000000
FAN Dynamic Speed control=active hwmon2_pwm1=55
NV Power Mode: MAXN
"""
THOR = """\
cpu0:  Governor=schedutil MinFreq=2601000 MaxFreq=2601000 CurrentFreq=2601000 \
IdleStates: WFI=0 cc7=0
gpu-gpc-0 MinFreq=1575000000 MaxFreq=1575000000 CurrentFreq=1575000000
gpu-nvd-0 MinFreq=1692000000 MaxFreq=1692000000 CurrentFreq=1692000000
EMC MinFreq=665600000 MaxFreq=4266000000 CurrentFreq=4266000000 FreqOverride=1
NV Power Mode: MAXN
"""
CONF = """\
# <POWER_MODEL ID=9 NAME=COMMENTED>
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=0 >
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n", PowerMode("0", "MAXN")),
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n", PowerMode("2", "15W_6CORE")),
        ("NV Power Mode: MAXN_SUPER\n2\n", PowerMode("2", "MAXN_SUPER")),
        ("NV Power Mode: 25W\n", PowerMode("", "25W")),
        ("NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13\n", None),
        ("", None),
    ],
)
def test_nvpmodel(text: str, expected: PowerMode | None) -> None:
    assert parse_nvpmodel(text) == expected


@pytest.mark.parametrize(
    ("text", "cpu", "gpu", "memory"),
    [
        (NANO, Clock(1326, 1428), Clock(153, 921), Clock(1600, 1600)),  # cpu0 is off
        (ORIN, Clock(1190, 2201), Clock(306, 1300), Clock(2133, 3199)),
        (THOR, Clock(2601, 2601), Clock(1575, 1575), Clock(4266, 4266)),
    ],
)
def test_jetson_clocks(text: str, cpu: Clock, gpu: Clock, memory: Clock) -> None:
    assert parse_jetson_clocks(text) == {"cpu": cpu, "gpu": gpu, "memory": memory}


def test_a_refusal_tells_no_clock() -> None:
    assert parse_jetson_clocks("Error: Run this script(/usr/bin/jetson_clocks) as a root\n") == {}


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_files_are_read_where_the_tools_are_silent(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "var/lib/nvpmodel/status": "pmode:0002",
            "etc/nvpmodel.conf": CONF,
            "sys/class/devfreq/15340000.vic/cur_freq": "1",
            "sys/class/devfreq/15340000.vic/max_freq": "2",
            "sys/class/devfreq/17000000.gpu/cur_freq": "306000000",
            "sys/class/devfreq/17000000.gpu/max_freq": "918000000",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600",
            "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1728000",
        },
    )
    silent, asked = (lambda command: ""), []

    def telling(command: Sequence[str]) -> str:
        asked.append(tuple(command))
        return ORIN if command[0] == "jetson_clocks" else "NV Power Mode: 15W\n0\n"

    assert power_mode(tmp_path, silent) == PowerMode("2", "MAXN_SUPER")
    assert power_modes(tmp_path) == {"0": "15W", "2": "MAXN_SUPER"}
    assert clocks(tmp_path, silent) == {"cpu": Clock(729, 1728), "gpu": Clock(306, 918)}
    assert power_mode(tmp_path, telling) == PowerMode("0", "15W")
    assert clocks(tmp_path, telling)["memory"] == Clock(2133, 3199)
    assert asked == [("nvpmodel", "-q"), ("jetson_clocks", "--show")]


def test_nothing_is_told_where_nothing_is(tmp_path: Path) -> None:
    assert power_mode(tmp_path, lambda command: "") is None
    assert clocks(tmp_path, lambda command: "") == {} and power_modes(tmp_path) == {}


def test_a_tool_that_is_missing_or_fails_says_nothing() -> None:
    assert run_tool(["no-such-tool-of-jetpack"]) == ""
    assert run_tool(["sh", "-c", "echo half; exit 1"]) == ""
    assert run_tool(["sh", "-c", "echo whole"]) == "whole\n"
