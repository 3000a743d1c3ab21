"""Every check on every machine: what it says, and that what it says can be typed."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omnijet.runtime.doctor.check import examine
from omnijet.runtime.doctor.checks import checks_for
from omnijet.runtime.doctor.finding import Finding
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.install import Install
from omnijet.runtime.doctor.library import ABSENT, Library
from omnijet.runtime.profiling.jetson import run_tool
from tests.machines import FAKES
from tests.runtime.doctor.lines import require_typable
from tests.runtime.doctor.patients import (
    JETSON_CARDS,
    JETSON_PCM,
    patient,
    replies,
    write,
)


def findings(here: Here) -> dict[str, Finding]:
    """Runs all checks; every line of theirs must be one that can be typed."""
    found = examine(checks_for(here), here)
    for finding in found:
        if finding.fix is not None:
            require_typable(finding.fix)
        assert "the check failed" not in finding.said, finding
    assert len({finding.name for finding in found}) == len(found)
    return {finding.name: finding for finding in found}


def only(here: Here, name: str, state: str) -> Finding:
    """Returns the one fault of a machine, which has no other."""
    found = findings(here)
    faults = [one for one in found if found[one].state == "fault"]
    assert faults == ([name] if state == "fault" else []), faults
    assert found[name].state == state, found[name]
    return found[name]


@pytest.mark.parametrize("name", FAKES)
def test_a_machine_in_order_has_no_fault(tmp_path: Path, name: str) -> None:
    found = findings(patient(tmp_path, name))
    assert [one for one in found.values() if one.state == "fault"] == []
    assert found["device"].state == found["GPU"].state == found["Python"].state == "ok"
    jetson = {"JetPack", "TensorRT library", "TensorRT bindings", "TensorRT match", "power mode"}
    if "-jp" in name:
        assert jetson <= set(found) and "TensorRT-RTX" not in found
        assert {found[one].state for one in jetson} == {"ok"}
        assert found["zram"].fix is not None and "fallocate -l 16G /mnt/nvme/" in found["zram"].fix
    else:
        assert not jetson & set(found)


def test_this_machine_is_looked_at_without_a_failure() -> None:
    from omnijet.runtime.doctor.command import look_around
    from omnijet.runtime.doctor.library import AskedLibraries

    with AskedLibraries() as asked:
        here = look_around(None, False, asked)
        found = findings(here)
    assert here.tool is run_tool
    assert {"device", "Python", "ONNX Runtime", "memory", "disk speed"} <= set(found)
    assert found["ONNX Runtime"].state == "ok" and found["disk speed"].state in ("ok", "note")


@pytest.mark.parametrize(
    ("name", "changes", "check", "said", "fix"),
    [
        # cuda-python 13 on JetPack 6
        (
            "orin-nano-jp62", {"cuda": Library("13.4.4", facts={})},
            "CUDA for Python", "driver knows CUDA 12.6 only", 'pip install "cuda-python<13"',
        ),
        ("orin-nano-jp62", {"cuda": ABSENT}, "CUDA for Python", "not here", '"cuda-python<13"'),
        (
            "orin-nano-jp62", {"cuda": ABSENT, "driver": Library(error="no answer")},
            "CUDA for Python", "not here", '"cuda-python<13"',
        ),
        ("orin-nano-jp72", {"cuda": ABSENT}, "CUDA for Python", "not here", '"omnijet[gpu]"'),
        (
            "workstation", {"driver": Library("12.8")},
            "CUDA for Python", "driver knows CUDA 12.8 only", '"cuda-python<13"',
        ),
        (
            "thor-jp72", {"cuda": Library("13.4.4", facts={"refused": "cudaErrorNoDevice"})},
            "CUDA for Python", "cudaErrorNoDevice", "sudo dmesg",
        ),
        ("workstation", {"driver": ABSENT}, "driver", "libcuda.so.1", "sudo dmesg"),
        # TensorRT
        (
            "orin-nano-jp62", {"tensorrt": ABSENT},
            "TensorRT bindings", "made without --system-site-packages",
            "/usr/bin/python3.10 -m venv --system-site-packages /home/anna/venv",
        ),
        (
            "thor-jp72", {"tensorrt": Library(error="libnvinfer.so.10: cannot open")},
            "TensorRT bindings", "libnvinfer.so.10", "sudo apt install --reinstall",
        ),
        (
            "orin-nano-jp72", {"tensorrt": Library("11.4.1", facts={
                "loaded": "11.4.1", "packages": ["tensorrt_cu13_bindings"]})},
            "TensorRT match", "hide those of JetPack's TensorRT 10.16.2",
            "pip uninstall -y tensorrt_cu13_bindings",
        ),
        (
            "orin-nano-jp62", {"tensorrt": Library("10.3.0", facts={"loaded": "10.7.0"})},
            "TensorRT bindings", "bindings 10.3.0 have loaded TensorRT 10.7.0",
            "python3-libnvinfer libnvinfer10",
        ),
        (
            "workstation", {"tensorrt_rtx": Library("1.7.1.116", facts={"loaded": "1.6.0"})},
            "TensorRT-RTX", "have loaded TensorRT-RTX 1.6.0", "--force-reinstall",
        ),
        # ONNX Runtime
        ("pc", {"onnxruntime": ABSENT}, "ONNX Runtime", "not here", "install onnxruntime"),
        (
            "pc", {"onnxruntime": Library("1.20.0", facts={"packages": ["onnxruntime"]})},
            "ONNX Runtime", "opset 24 needs 1.25", "install -U onnxruntime",
        ),
        (
            "pc", {"onnxruntime": Library(error="its import ended the process by SIGILL")},
            "ONNX Runtime", "SIGILL", "install --force-reinstall onnxruntime",
        ),
        (
            "orin-nano-jp72", {"onnxruntime": Library("1.31.1", facts={
                "packages": ["onnxruntime-gpu"], "providers": ["CUDAExecutionProvider"]})},
            "ONNX Runtime on the GPU", "not for SM87", "pip install onnxruntime",
        ),
        (
            "thor-jp72", {"onnxruntime": Library("1.31.1", facts={
                "packages": ["onnxruntime-gpu"], "providers": ["CUDAExecutionProvider"]})},
            "ONNX Runtime on the GPU", "not for SM110", "pip install onnxruntime",
        ),
        (
            "h100", {"onnxruntime": Library("1.32.0", facts={
                "packages": ["onnxruntime-gpu"], "providers": ["CUDAExecutionProvider"],
                "cuda_error": "libcublasLt.so.12: cannot open"})},
            "ONNX Runtime on the GPU", "libcublasLt.so.12",
            'pip install --force-reinstall "onnxruntime-gpu[cuda,cudnn]"',
        ),
        (
            "h100", {"onnxruntime": Library("1.32.0", facts={
                "packages": ["onnxruntime", "onnxruntime-gpu"], "providers": []})},
            "ONNX Runtime", "overwrite each other", '"onnxruntime-gpu[cuda,cudnn]"',
        ),
    ],
)  # fmt: skip
def test_a_library_that_does_not_fit(
    tmp_path: Path, name: str, changes: dict[str, Library], check: str, said: str, fix: str
) -> None:
    here = patient(tmp_path, name, libraries=changes)
    found = findings(here)[check]
    assert found.state == "fault" and said in found.said
    assert found.fix is not None and fix in found.fix


def test_an_old_onnxruntime_is_no_fault_where_there_is_no_other(tmp_path: Path) -> None:
    found = findings(patient(tmp_path, "orin-nano-jp62"))["ONNX Runtime"]
    assert found.state == "note" and "1.23.2" in found.said and "none for this Python" in found.said


def test_a_gpu_package_for_an_old_python(tmp_path: Path) -> None:
    facts = {"packages": ["onnxruntime-gpu"], "providers": ["CUDAExecutionProvider"]}
    here = patient(tmp_path, "h100", libraries={"onnxruntime": Library("1.23.2", facts=facts)})
    here = replace(here, platform=replace(here.platform, python=(3, 10)))
    found = findings(here)["ONNX Runtime on the GPU"]
    assert found.state == "fault" and "none for this Python" in found.said


def test_another_python_never_loads_the_tensorrt_of_jetpack(tmp_path: Path) -> None:
    here = patient(tmp_path, "orin-nano-jp62", libraries={"tensorrt": ABSENT})
    here = replace(here, platform=replace(here.platform, python=(3, 12)))
    found = findings(here)["TensorRT bindings"]
    assert found.state == "fault" and "python3.10, and this is python3.12" in found.said
    assert found.fix is not None and found.fix.startswith("/usr/bin/python3.10 -m venv")


def test_a_fresh_jetson_without_jetpack(tmp_path: Path) -> None:
    here = patient(tmp_path, "agx-orin-64-jp62", libraries={"tensorrt": ABSENT})
    for path in [*here.root.glob("usr/lib/*/libnvinfer*"), *here.root.glob("usr/lib/*/*/*/*.py")]:
        path.unlink()
    found = findings(here)
    for name in ("TensorRT library", "TensorRT bindings"):
        assert found[name].state == "fault"
        assert found[name].fix == "sudo apt install nvidia-jetpack"


@pytest.mark.parametrize(
    ("release", "state", "said"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 1", "fault", "JetPack 5.1"),
        ("# R99 (release), REVISION: 1.0, GCID: 1", "unknown", "Jetson Linux 99.1.0"),
        ("", "unknown", "a container hides it"),
    ],
)
def test_a_jetpack_that_cannot_be_used(tmp_path: Path, release: str, state: str, said: str) -> None:
    from omnijet.runtime.machine.platform import Platform

    here = patient(tmp_path, "orin-nx-jp62")
    write(here.root, {"etc/nv_tegra_release": release})
    found = findings(replace(here, platform=Platform.read(here.root)))["JetPack"]
    assert found.state == state and said in found.said


@pytest.mark.parametrize(
    ("files", "fix"),
    [
        ({"etc/os-release": 'ID="ubuntu"\nID_LIKE=debian\n'}, "sudo ubuntu-drivers install"),
        ({"etc/os-release": "ID=linuxmint\nID_LIKE=ubuntu\n"}, "sudo ubuntu-drivers install"),
        ({"etc/os-release": "ID=debian\n"}, "sudo apt install nvidia-driver"),
        ({"etc/os-release": "ID=arch\n"}, 'sudo dmesg | grep -iE "nvrm|nvgpu|nvidia|xid" | tail'),
        ({".dockerenv": ""}, "docker run --rm --gpus all ubuntu nvidia-smi"),
    ],
)
def test_a_card_without_a_driver(tmp_path: Path, files: dict[str, str], fix: str) -> None:
    here = patient(tmp_path, "pc")
    card = "sys/bus/pci/devices/0000:01:00.0"
    write(here.root, {f"{card}/vendor": "0x10de\n", f"{card}/class": "0x030000\n", **files})
    assert only(here, "GPU", "fault").fix == fix


def test_a_container_without_the_driver(tmp_path: Path) -> None:
    here = patient(tmp_path, "orin-nano-jp62", libraries={"driver": ABSENT})
    assert findings(here)["driver"].fix == "sudo apt install nvidia-l4t-cuda"
    write(here.root, {".dockerenv": ""})
    found = findings(here)["driver"]
    assert "on the host" in found.said
    assert found.fix is not None and found.fix.startswith("sudo nvidia-ctk runtime configure")


def test_a_sound_device_of_a_card_is_no_gpu(tmp_path: Path) -> None:
    here = patient(tmp_path, "pc")
    card = "sys/bus/pci/devices/0000:01:00.1"
    write(here.root, {f"{card}/vendor": "0x10de\n", f"{card}/class": "0x040300\n"})
    assert only(here, "GPU", "ok").said.startswith("no NVIDIA GPU")


def test_a_user_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = patient(tmp_path, "orin-nano-jp62")
    write(here.root, {"dev/nvmap": "", "dev/snd/pcmC2D0c": ""})
    assert findings(here)["GPU access"].state == "ok"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = findings(here)
    assert found["GPU access"].fix == 'sudo usermod -aG video,render "$USER"'
    assert found["sound access"].fix == 'sudo usermod -aG audio "$USER"'
    assert {found["GPU access"].state, found["sound access"].state} == {"fault"}


@pytest.mark.parametrize(
    ("install", "line"),
    [
        (Install(Path("/usr"), True, True, True, True, False), "pip install onnxruntime"),
        (
            Install(Path("/usr"), True, True, True, True, True),
            "pip install onnxruntime --break-system-packages",
        ),
        (Install(Path("/v"), False, True, True, True, False), "pip install onnxruntime"),
        (
            Install(Path("/v w"), False, False, True, True, False),
            "'/v w/bin/pip' install onnxruntime",
        ),
        (
            Install(Path("/opt/omnijet/venv"), False, True, True, False, False),
            "sudo /opt/omnijet/venv/bin/pip install onnxruntime",
        ),
        (
            Install(Path("/v"), False, False, False, True, False),
            "uv pip install --python /v/bin/python onnxruntime",
        ),
    ],
)
def test_packages_go_to_this_interpreter(tmp_path: Path, install: Install, line: str) -> None:
    here = patient(tmp_path, "pc", libraries={"onnxruntime": ABSENT}, install=install)
    assert only(here, "ONNX Runtime", "fault").fix == line


def test_an_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"pyvenv.cfg": "", "bin/pip": ""})
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    assert Install.read(tmp_path) == Install(tmp_path, False, False, True, True, False)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    assert Install.read(tmp_path).active
    write(tmp_path, {"usr/lib/python3.12/EXTERNALLY-MANAGED": ""})
    assert Install.read(tmp_path / "usr") == Install(tmp_path / "usr", True, True, True, True, True)


# -- what slows a machine down ---------------------------------------------------------


def jetson(tmp_path: Path, files: dict[str, str] | None = None, **changes: Any) -> Here:
    here = patient(tmp_path, "orin-nano-jp62", **changes)
    write(here.root, files or {})
    return here


def test_a_weak_power_mode(tmp_path: Path) -> None:
    found = findings(jetson(tmp_path, {"var/lib/nvpmodel/status": "pmode:0000"}))["power mode"]
    assert (found.state, found.fix) == ("note", "sudo nvpmodel -m 2")
    assert found.said == "15W (mode 0); MAXN_SUPER is faster"
    told = {"nvpmodel -q": "NV Power Mode: MODE_25W\n1\n"}
    assert "25W" in findings(jetson(tmp_path, told=told))["power mode"].said


def test_a_device_whose_modes_all_have_limits(tmp_path: Path) -> None:
    modes = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n"
    here = jetson(tmp_path, {"etc/nvpmodel.conf": modes, "var/lib/nvpmodel/status": "pmode:0001"})
    assert findings(here)["power mode"].fix == "sudo nvpmodel -m 0"
    here = jetson(tmp_path / "b", {"etc/nvpmodel.conf": "", "var/lib/nvpmodel/status": ""})
    assert findings(here)["power mode"].state == "unknown"


def test_clocks_that_wait_for_load(tmp_path: Path) -> None:
    here = jetson(tmp_path, {"sys/class/devfreq/17000000.gpu/cur_freq": "306000000"})
    found = findings(here)["clocks"]
    assert found.fix == "sudo jetson_clocks" and "gpu at 306 of 1020 MHz" in found.said


def test_heat(tmp_path: Path) -> None:
    found = findings(jetson(tmp_path, {"sys/class/thermal/thermal_zone0/temp": "99500"}))
    assert found["throttling"].fix == "sudo jetson_clocks --fan"
    assert "cpu-thermal 99.5 C" in found["throttling"].said


@pytest.mark.parametrize(
    ("kind", "state"), [("devfreq-gpu", "note"), ("cv0-throttle-alert", "note"), ("pwm-fan", "ok")]
)
def test_what_is_cooled(tmp_path: Path, kind: str, state: str) -> None:
    device = "sys/class/thermal/cooling_device3"
    here = jetson(tmp_path, {f"{device}/type": kind, f"{device}/cur_state": "2"})
    assert findings(here)["throttling"].state == state


def test_an_overloaded_supply(tmp_path: Path) -> None:
    here = jetson(tmp_path, {
        "sys/class/hwmon/hwmon4/oc1_event_cnt": "0", "sys/class/hwmon/hwmon4/oc3_event_cnt": "17",
    })  # fmt: skip
    found = findings(here)["throttling"]
    assert "oc3 17 times" in found.said and "oc1" not in found.said
    assert found.fix == "sudo nvpmodel -m 1"  # 25 W, the strongest with a limit


@pytest.mark.parametrize(
    ("bits", "state"), [("0x0000000000000001", None), ("0x0000000000000048", "note")]
)
def test_a_card_that_is_held_back(tmp_path: Path, bits: str, state: str | None) -> None:
    query = "nvidia-smi --query-gpu=clocks_throttle_reasons.active"
    found = findings(patient(tmp_path, "workstation", told={query: bits})).get("throttling")
    assert (None if found is None else found.state) == state


def test_a_governor_that_stays_low(tmp_path: Path) -> None:
    here = patient(tmp_path, "pc")
    cpu = "sys/devices/system/cpu/cpu0/cpufreq"
    write(here.root, {f"{cpu}/scaling_governor": "powersave", f"{cpu}/scaling_driver": "x-pstate"})
    assert "clocks" not in findings(here)
    write(here.root, {f"{cpu}/scaling_driver": "acpi-cpufreq"})
    assert findings(here)["clocks"].fix == "sudo cpupower frequency-set -g performance"


def test_zram_is_left_alone_where_no_disk_takes_its_place(tmp_path: Path) -> None:
    here = jetson(tmp_path, {"proc/mounts": "/dev/mmcblk0p1 / ext4 rw 0 0\n"})
    found = findings(here)["zram"]
    assert found.state == "note" and found.fix is None and "3.99 GB" in found.said
    here = jetson(tmp_path / "b", {"proc/swaps": "Filename\n/dev/zram0 partition 4000 0 5\n"
                                                 "/swapfile file 16000000 0 -2\n"})  # fmt: skip
    assert findings(here)["zram"].fix == "sudo systemctl disable --now nvzramconfig"


def test_a_desktop_on_a_small_jetson(tmp_path: Path) -> None:
    here = jetson(tmp_path)
    link = here.root / "etc/systemd/system/default.target"
    link.parent.mkdir(parents=True)
    link.symlink_to("/lib/systemd/system/graphical.target")
    found = findings(here)["desktop"]
    assert found.fix is not None and found.fix.startswith("sudo systemctl set-default multi-user")
    link.unlink()
    link.symlink_to("/lib/systemd/system/multi-user.target")
    assert findings(here)["desktop"].state == "ok"


# -- sound -----------------------------------------------------------------------------


def test_the_own_inputs_of_a_jetson_are_no_microphone(tmp_path: Path) -> None:
    here = jetson(tmp_path, {"proc/asound/cards": JETSON_CARDS, "proc/asound/pcm": JETSON_PCM})
    found = findings(here)
    assert found["sound devices"].state == "note" and "no microphone" in found["sound devices"].said
    assert "microphone" not in found and found["speaker"].state == "ok"


@pytest.mark.parametrize(
    ("told", "check", "state", "fix"),
    [
        (
            {"pactl get-source-mute": "Mute: yes\n"}, "microphone", "fault",
            "pactl set-source-mute @DEFAULT_SOURCE@ 0",
        ),
        (
            {"pactl get-sink-volume": "Volume: front-left: 655 /   1% / -120 dB\n"}, "speaker",
            "note", "pactl set-sink-mute @DEFAULT_SINK@ 0 && "
            "pactl set-sink-volume @DEFAULT_SINK@ 80%",
        ),
        (
            {"pactl get-source-volume": "Volume: mono: 200000 / 305% / 29 dB\n"}, "microphone",
            "note", "pactl set-source-mute @DEFAULT_SOURCE@ 0 && "
            "pactl set-source-volume @DEFAULT_SOURCE@ 80%",
        ),
        (
            {"pactl info": "Server Name: pulse\nDefault Source: alsa_output.hdmi.monitor\n"},
            "sound server", "fault", "pactl list short sources && omnijet chat --list-devices",
        ),
    ],
)  # fmt: skip
def test_levels(tmp_path: Path, told: dict[str, str], check: str, state: str, fix: str) -> None:
    found = findings(jetson(tmp_path, told=told))[check]
    assert (found.state, found.fix) == (state, fix)


def test_levels_of_alsa_where_no_server_answers(tmp_path: Path) -> None:
    here = jetson(tmp_path)
    told = {"amixer sget Capture": "Mono: Capture 0 [0%] [off]\n", "amixer sget Master": "[71%]"}
    found = findings(replace(here, tool=replies(told)))
    assert found["sound server"].said.startswith("no sound server")
    assert found["microphone"].fix == "amixer sset Capture cap 80%"
    assert found["speaker"].state == "ok" and "71 %" in found["speaker"].said


def test_a_mute_is_a_fault_for_those_who_talk_alone(tmp_path: Path) -> None:
    told = {"pactl get-source-mute": "Mute: yes\n"}
    here = jetson(tmp_path, told=told, libraries={"sounddevice": ABSENT})
    found = findings(here)
    assert found["microphone"].state == "note"
    assert found["PortAudio"].fix == 'pip install "omnijet[chat]"'


def test_no_portaudio(tmp_path: Path) -> None:
    absent = Library(error="PortAudio library not found", facts={"portaudio": False})
    found = findings(jetson(tmp_path, libraries={"sounddevice": absent}))["PortAudio"]
    assert (found.state, found.fix) == ("fault", "sudo apt install libportaudio2")


def test_a_check_that_breaks_hides_no_other(tmp_path: Path) -> None:
    def raising(name: str) -> Library:
        raise RuntimeError("the probe is broken")

    here = replace(patient(tmp_path, "orin-nano-jp62"), libraries=raising)
    found = examine(checks_for(here), here)
    broken = {one.name for one in found if "the probe is broken" in one.said}
    assert broken >= {"driver", "TensorRT bindings", "ONNX Runtime", "PortAudio"}
    assert all(one.state == "unknown" for one in found if one.name in broken)
    assert {one.name for one in found if one.state == "ok"} >= {"device", "GPU", "memory"}


def test_the_lines_of_the_document_can_be_typed() -> None:
    page = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
    typed = "".join(re.findall(r"^```(?:bash)?\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S))
    assert len(typed.splitlines()) > 30
    for line in typed.splitlines():
        require_typable(line)
