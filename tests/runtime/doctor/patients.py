"""Machines for the doctor: fakes with what JetPack and sound cards add to their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.install import Install
from omnijet.runtime.doctor.library import ABSENT, Library
from omnijet.runtime.machine.platform import Platform
from tests.machines import PYTHONS, fake_machine

CONF = """\
# <POWER_MODEL ID=9 NAME=MAXN_OLD>
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
"""
JETSON_CARDS = """\
 0 [HDA            ]: tegra-hda - NVIDIA Jetson HDA
                      NVIDIA Jetson HDA at 0x3518000 irq 113
 1 [APE            ]: tegra-ape - NVIDIA Jetson APE
                      NVIDIA-JetsonAPE
"""
JETSON_PCM = """\
00-03: HDMI 0 : HDMI 0 : playback 1
01-00: tegra-dlink-0 XBAR-ADMAIF1-0 : : playback 1 : capture 1
"""
USB_CARD = """\
 2 [Mic            ]: USB-Audio - Desk Mic
                      Desk Mic at usb-3610000.usb-2.3, full speed
"""
USB_PCM = "02-00: USB Audio : USB Audio : playback 1 : capture 1\n"
SOUND = {
    "pactl info": "Server Name: PulseAudio (on PipeWire 1.0.5)\nDefault Source: alsa_input.usb\n",
    "pactl get-source-mute": "Mute: no\n",
    "pactl get-source-volume": "Volume: mono: 52429 /  80% / -5.81 dB\n",
    "pactl get-sink-mute": "Mute: no\n",
    "pactl get-sink-volume": "Volume: front-left: 52429 /  80% / -5.81 dB\n",
}
"""What a sound server says, by the beginning of the command."""
LOADED = {
    "jp62": ("10.3.0", "12.6", "12.9.1", "1.23.2"),
    "jp70": ("10.13.3", "13.0", "13.0.3", "1.32.0"),
    "jp72": ("10.16.2", "13.2", "13.4.4", "1.32.0"),
}
"""JetPack -> TensorRT, CUDA of the driver, cuda-python, and ONNX Runtime of a device in order."""


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def replies(told: Mapping[str, str]) -> Any:
    """Returns a tool that knows these commands, by their beginning; `env LC_ALL=C` is no matter."""

    def tool(command: Sequence[str]) -> str:
        said = " ".join(command).removeprefix("env LC_ALL=C ")
        return next((text for start, text in told.items() if said.startswith(start)), "")

    return tool


def libraries(found: Mapping[str, Library]) -> Any:
    return lambda name: found.get(name, ABSENT)


def patient(folder: Path, name: str, **changes: Any) -> Here:
    """Returns a machine in good order, on which every library is the one that belongs there.

    Args:
        folder: where its files are made.
        name: one of `tests.machines.FAKES`.
        changes: other values of `Here`, and `libraries` and `told` as mappings to add.
    """
    root = fake_machine(folder, name)
    _, _, jetpack = name.rpartition("-")
    added, told = changes.pop("libraries", {}), changes.pop("told", {})
    platform = Platform.read(root)
    if platform.is_jetson:
        platform = replace(platform, python=PYTHONS[jetpack])
        found = _jetson(root, jetpack)
    else:
        platform = replace(platform, python=(3, 11))
        found = _workstation(platform)
    changes.setdefault("install", Install(Path("/home/anna/venv"), False, True, True, True, False))
    return replace(
        Here(platform, root, replies({**SOUND, **told}), libraries({**found, **added})), **changes
    )


def _jetson(root: Path, jetpack: str) -> dict[str, Library]:
    trt, driver, cuda, ort = LOADED[jetpack]
    python = "python{}.{}".format(*PYTHONS[jetpack])
    write(root, {
        f"usr/lib/aarch64-linux-gnu/libnvinfer.so.{trt}": "",
        f"usr/lib/{python}/dist-packages/tensorrt/__init__.py": "",
        "proc/mounts": "/dev/mmcblk0p1 / ext4 rw 0 0\n/dev/nvme0n1p2 /mnt/nvme ext4 rw 0 0\n",
        "etc/nvpmodel.conf": CONF,
        "var/lib/nvpmodel/status": "pmode:0002",
        "sys/class/devfreq/17000000.gpu/cur_freq": "1020000000",
        "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "51000",
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000",
        "proc/asound/cards": JETSON_CARDS + USB_CARD,
        "proc/asound/pcm": JETSON_PCM + USB_PCM,
    })  # fmt: skip
    return {
        "driver": Library(driver),
        "cuda": Library(cuda, facts={"devices": 1}),
        "tensorrt": Library(trt, facts={"loaded": trt, "packages": []}),
        "onnxruntime": Library(
            ort, facts={"packages": ["onnxruntime"], "providers": ["CPUExecutionProvider"]}
        ),
        "sounddevice": Library("0.5.6", facts={"microphones": 1, "speakers": 2}),
    }


def _workstation(platform: Platform) -> dict[str, Library]:
    found = {
        "onnxruntime": Library(
            "1.32.0", facts={"packages": ["onnxruntime"], "providers": ["CPUExecutionProvider"]}
        )
    }
    if platform.gpu is not None:
        found["driver"] = Library("13.0")
        found["cuda"] = Library("13.4.4", facts={"devices": 1})
        found["tensorrt_rtx"] = Library("1.7.1.116", facts={"loaded": "1.7.1", "packages": []})
    return found
