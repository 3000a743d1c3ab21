"""A report tells of the fault, and nothing of the person or the machine."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.doctor.check import Check, examine
from omnijet.runtime.doctor.checks import checks_for
from omnijet.runtime.doctor.finding import Finding, fault
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.install import Install
from omnijet.runtime.doctor.library import Library
from omnijet.runtime.doctor.private import HIDDEN, Secrets
from omnijet.runtime.doctor.report import report_facts, write_report
from tests.runtime.bundle.test_folder import edit, toy
from tests.runtime.doctor.patients import patient, write
from tests.runtime.doctor.test_bundle import build

PERSONAL = (
    "grethe", "Grethe", "Lindqvist", "lindqvist", "workbench-7", "fjord.example", "grethes-robot",
    "1423521034567", "MX-99-1234", "9f86d081884c7d65", "192.168.17.42", "10.11.12.13",
    "fe80::1a2b:3c4d", "2001:db8:85a3::8a2e:370:7334", "48:b0:2d:3c:4d:5e",
    "8a7b6c5d-1111-2222-3333-444455556666", "hf_SECRETtoken42", "sk-proj-abcdef", "hunter2pass",
    "secret-model", "Grethe's AirPods", "Livingroom", "lindqvist@mail.example",
    "proxy.corp.example", "secret-lab", "mission42",
)  # fmt: skip
"""What must be in no report."""
ENVIRONMENT = {
    "HF_TOKEN": "hf_SECRETtoken42",
    "OPENAI_API_KEY": "sk-proj-abcdef",
    "OMNIJET_API_KEY": "hunter2pass",
    "HTTPS_PROXY": "http://lindqvist:hunter2pass@proxy.corp.example:8080",
    "SSH_CONNECTION": "192.168.17.42 51234 10.11.12.13 22",
    "LD_LIBRARY_PATH": "/home/grethe/cuda/lib",
    "CUDA_VISIBLE_DEVICES": "GPU-8a7b6c5d-1111-2222-3333-444455556666",
    "PROJECT": "mission42",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """A machine full of what is nobody's business, on which much is wrong."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOGNAME", "grethe")
    monkeypatch.setattr("socket.gethostname", lambda: "grethes-robot.fjord.example")
    home = tmp_path / "home" / "grethe"
    folder = toy(home / "secret-lab" / "secret-model")
    build(folder, "mine", "tensorrt", "10.3.0", 87)
    (folder / "engines/mine/vocoder.engine").unlink()
    edit(folder, name="secret-model", provenance={"from": "/home/grethe/secret-lab"})
    made = patient(
        tmp_path, "orin-nano-jp62",
        libraries={
            "tensorrt": Library(error="/home/grethe/venv/lib/libnvinfer.so.10: not found for "
                                      "lindqvist@mail.example at 192.168.17.42"),
            "cuda": Library("13.4.4", facts={"refused": "serial 1423521034567 of grethes-robot"}),
            "sounddevice": Library(error="host fe80::1a2b:3c4d and 2001:db8:85a3::8a2e:370:7334 "
                                         "48:b0:2d:3c:4d:5e refused hf_SECRETtoken42"),
        },
        told={"pactl info": "Server Name: PulseAudio on grethes-robot 10.11.12.13\n",
              "pactl get-source-mute": "Mute: yes\n"},
        install=Install(home / "venv", False, False, True, True, False),
        bundle=folder, manifest=Manifest.read(folder),
    )  # fmt: skip
    write(made.root, {
        "etc/hostname": "grethes-robot\n",
        "etc/hosts": "127.0.0.1 localhost\n192.168.17.42 workbench-7.fjord.example workbench-7\n",
        "etc/passwd": "root:x:0:0:root:/:/bin/sh\n"
        "grethe:x:1000:1000:Grethe Lindqvist,Room 4,,:/home/grethe:/bin/bash\n",
        "etc/machine-id": "9f86d081884c7d659a2feaa0c55ad015\n",
        "proc/device-tree/serial-number": "1423521034567\0",
        "sys/class/dmi/id/product_serial": "MX-99-1234\n",
        "proc/asound/cards": " 0 [AirPods        ]: bluez - Grethe's AirPods\n"
        " 1 [Room           ]: USB-Audio - Livingroom\n",
        "proc/asound/pcm": "00-00: x : x : playback 1 : capture 1\n01-00: y : y : capture 1\n",
    })  # fmt: skip
    return made


def looked(here: Here) -> list[Finding]:
    def leaks(here: Here) -> Finding:
        raise OSError(13, "Permission denied", f"{here.bundle}/manifest.json")

    def more(here: Here) -> Finding:
        return fault("mission42 of Grethe Lindqvist, MX-99-1234, GPU-8a7b6c5d-1111-2222-3333-"
                     "444455556666 in 9f86d081884c7d659a2feaa0c55ad015",
                     f"ls {here.bundle} /home/grethe/.cache ~/secret-lab")  # fmt: skip

    extra = [Check("leaking", leaks), Check("more", more)]
    return examine([*checks_for(here), *extra], here)


def read(path: Path) -> str:
    """Returns all that a report says, and what its archive says of it."""
    if path.suffix != ".zip":
        return path.read_text()
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        return "".join(f"{info!r}{file.read(info).decode()}" for info in file.infolist())


@pytest.mark.parametrize("name", ["report.zip", "report.txt", "report"])
def test_no_report_tells_of_anybody(tmp_path: Path, here: Here, name: str) -> None:
    found = looked(here)
    shown = " ".join(f"{one.said} {one.fix}" for one in found)
    leaked = {word for word in PERSONAL if word in shown}
    assert len(leaked) > 18, set(PERSONAL) - leaked  # the machine is full of them
    path = tmp_path / name
    write_report(path, found, here)
    said = read(path)
    for word in PERSONAL:
        assert word.casefold() not in said.casefold(), word
    assert str(tmp_path) not in said and "/home" not in said


def test_a_report_tells_of_the_fault(tmp_path: Path, here: Here) -> None:
    path = tmp_path / "report.zip"
    write_report(path, looked(here), here)
    with zipfile.ZipFile(path) as file:
        facts = json.loads(file.read("report.json"))
    found = {one["name"]: one for one in facts["findings"]}
    assert found["JetPack"]["said"] == "JetPack 6.2 (Jetson Linux 36.4.3)"
    assert found["TensorRT library"]["said"] == "TensorRT 10.3.0"
    assert found["TensorRT bindings"]["state"] == "fault"
    assert "libnvinfer.so.10" not in found["TensorRT bindings"]["said"]  # its path is a user's
    assert found["CUDA for Python"]["fix"] == f'{HIDDEN}/bin/pip install "cuda-python<13"'
    assert found["microphone"]["fix"] == "pactl set-source-mute @DEFAULT_SOURCE@ 0"
    assert found["engines mine"]["fix"] == f"omnijet build {HIDDEN} --target mine"
    assert facts["platform"]["model"].startswith("NVIDIA Jetson Orin Nano")
    assert facts["platform"]["jetpack"] == "6.2" and facts["platform"]["compute_capability"] == 87
    assert facts["bundle"]["built"] == {"mine": ["tensorrt 10.3.0 SM87"]}
    assert {"omnijet", "numpy", "onnxruntime"} <= set(facts["packages"])
    assert {"CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"} <= set(facts["environment"])


@pytest.mark.parametrize("machine", ["orin-nano-jp62", "thor-jp72", "workstation", "pc"])
def test_what_helps_is_not_hidden(tmp_path: Path, machine: str) -> None:
    here = patient(tmp_path, machine)
    found = examine(checks_for(here), here)
    facts = report_facts(found, here)
    for told, finding in zip(facts["findings"], found, strict=True):
        if not finding.private:
            assert (told["said"], told["fix"]) == (finding.said, finding.fix)


@pytest.mark.parametrize(
    "kept",
    [
        "TensorRT 10.3.0.30 in Python", "built by TensorRT 10.3.0.30, and here is 10.16.2.1",
        "open: /dev/nvmap, /dev/nvidiactl", "JetPack 6.2 (Jetson Linux 36.4.3)", "12:30:45",
        "sudo apt install nvidia-jetpack", "22.5 of 25.3 GB free", "a class::method of c++",
        "/usr/bin/python3.10 -m venv", 'sudo dmesg | grep -iE "nvrm|nvgpu" | tail', "f32, 12 files",
        "1,234,567 bytes and/or 60 MB/s", "oc3 17 times, oc1 2 times",
    ],
)  # fmt: skip
def test_plain_words_are_kept(tmp_path: Path, kept: str) -> None:
    assert Secrets.of(tmp_path, {}).hide(kept) == kept


@pytest.mark.parametrize(
    "hidden",
    [
        "/home/x", "~/models", "'/data/my bundle/x y'", "/mnt/nvme/b", "/usr/local/share/b",
        "/proc/123/cwd", "/usr/lib/../../home/x", "10.0.0.1", "fe80::1", "::1",
        "00:1a:2b:3c:4d:5e", "a.b@c.example", "http://user:word@host/path", "0123456789abcdef",
        "1234567890123", "ssh://robot/x", "file:///home/x", "/opt/data", "/media/x/y.bin",
        "/etc/wpa_supplicant.conf", "/dev/disk/by-id/x", "/var/lib/x",
        "2001:db8::", "::ffff:10.0.0.1", "1:2:3:4:5:6:7:8",
    ],
)  # fmt: skip
def test_what_may_be_personal_is_hidden(tmp_path: Path, hidden: str) -> None:
    said = Secrets.of(tmp_path, {}).hide(f"before {hidden} after")
    assert said.replace("'", "") == f"before {HIDDEN} after"


def test_ordinary_names_are_no_secrets(tmp_path: Path) -> None:
    """The first user of most Jetsons is called nvidia, and is a word of the lines to type."""
    write(tmp_path, {
        "etc/passwd": "nvidia:x:1000:1000:nvidia,,,:/home/nvidia:/bin/bash\n",
        "etc/hostname": "ubuntu\n",
    })  # fmt: skip
    hide = Secrets.of(tmp_path, {}).hide
    assert hide("sudo apt install nvidia-jetpack") == "sudo apt install nvidia-jetpack"
    assert hide("ls /home/nvidia/x") == f"ls {HIDDEN}"


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path, here: Here) -> None:
    with pytest.raises(OSError):
        write_report(tmp_path / "nowhere" / "report.zip", [], replace(here, manifest=None))
    assert not (tmp_path / "nowhere").exists()
