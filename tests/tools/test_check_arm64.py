"""`make check-arm64` without the emulation: what it compares, refuses, and leaves behind."""

from __future__ import annotations

import base64
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.errors import OmnijetError
from tools.check_arm64 import __main__ as program
from tools.check_arm64 import machine as machine_module
from tools.check_arm64.machine import Machine, emulation, require_able
from tools.check_arm64.questions import QUESTIONS, compared
from tools.check_arm64.wheels import DEBIAN_12, JETPACK_6, requirements


def answer(codes: list[int], sound: Any) -> dict[str, Any]:
    pcm = base64.b64encode(np.asarray(sound, "<i2").tobytes()).decode()
    return {"text": "yellow", "text_ids": [1, 2], "codes": codes, "events": 0, "pcm": pcm}


WAVE = np.round(np.sin(np.arange(480)) * 9000)


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (answer([5, 6], WAVE), None),
        (answer([5, 6], WAVE + 1), None),  # a last bit of the kernels
        (answer([5, 7], WAVE), "codes: 1 of 2 equal"),
        (answer([5, 6], WAVE + 900), "sound: 1"),
        (answer([5, 6], WAVE[:-1]), "479 samples, not 480"),
        ({**answer([5, 6], WAVE), "text_ids": [1]}, "text_ids: 1 of 2 equal"),
    ],
)
def test_answers_are_compared(other: dict[str, Any], fault: str | None) -> None:
    (found,) = compared({"spoken": other}, {"spoken": answer([5, 6], WAVE)})
    assert (found.fault is None) == (fault is None)
    assert fault is None or str(found.fault).startswith(fault)
    assert found.codes == 2 and found.name == "spoken"


def test_the_questions_have_their_media() -> None:
    from tools.check_arm64.questions import MEDIA

    for question in QUESTIONS:
        parts = [part for turn in question.job(str(MEDIA))["turns"] for part in turn]
        files = [part[part["type"]] for part in parts if part["type"] != "text"]
        assert all(Path(file).exists() for file in files)
    assert sum(one.streamed for one in QUESTIONS) == 1


def wheel(folder: Path) -> Path:
    path = folder / "omnijet-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("omnijet-0.1.0.dist-info/METADATA", "\n".join([
            "Metadata-Version: 2.4", "Name: omnijet", "Version: 0.1.0",
            "Requires-Dist: numpy>=1.26",
            "Requires-Dist: onnxruntime>=1.25; python_version >= '3.11'",
            "Requires-Dist: onnxruntime>=1.23; python_version < '3.11'",
            "Requires-Dist: starlette; extra == 'serve'",
            "Requires-Dist: rtx; extra == 'serve' and platform_machine == 'x86_64'",
        ]))  # fmt: skip
    return path


def test_requirements_are_those_of_the_other_machine(tmp_path: Path) -> None:
    """Pip would ask this machine for its Python and its processor."""
    path = wheel(tmp_path)
    assert requirements(path, JETPACK_6, ()) == ["numpy>=1.26", "onnxruntime>=1.23"]
    assert requirements(path, DEBIAN_12, ["serve"]) == [
        "numpy>=1.26", "onnxruntime>=1.25", "starlette",
    ]  # fmt: skip
    assert requirements(path, DEBIAN_12, [], "1.23.2")[-1] == "onnxruntime==1.23.2"
    assert "manylinux_2_35_aarch64" in JETPACK_6.options
    assert "manylinux_2_36_aarch64" not in JETPACK_6.options and "cp310" in JETPACK_6.options


def test_what_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(machine_module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(machine_module.shutil, "which", lambda name: None)
    monkeypatch.setattr(machine_module.os, "geteuid", lambda: 1000)
    with pytest.raises(OmnijetError, match="cannot emulate arm64 yet") as caught:
        require_able()
    said = str(caught.value)
    assert "root" in said and "mmdebstrap, arch-test" in said
    assert "apt-get install -y --no-install-recommends mmdebstrap arch-test binfmt-support" in said
    monkeypatch.setattr(machine_module.shutil, "which", lambda name: "/usr/bin/x")
    monkeypatch.setattr(machine_module.os, "geteuid", lambda: 0)
    require_able()
    monkeypatch.setattr(machine_module.platform, "machine", lambda: "aarch64")
    with pytest.raises(OmnijetError, match="emulated on x86-64") as caught:
        require_able()
    assert "make test" in str(caught.value.fix)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replaces what this machine is asked to do; nothing succeeds in more than returning 0."""
    made: list[list[str]] = []

    def call(*command: Any) -> subprocess.CompletedProcess[str]:
        made.append([str(part) for part in command])
        return subprocess.CompletedProcess(command, 0, "", "no such package")

    monkeypatch.setattr(machine_module, "_call", call)
    return made


def test_a_kernel_without_the_handler_is_told_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]
) -> None:
    monkeypatch.setattr(machine_module, "BINFMT", tmp_path)
    with pytest.raises(OmnijetError, match="does not run arm64"), emulation():
        raise AssertionError
    assert [one[0] for one in calls] == ["mount", "update-binfmts", "umount"]
    calls.clear()
    (tmp_path / "register").touch()
    handler = tmp_path / "qemu-aarch64"
    handler.write_text("enabled\ninterpreter /usr/libexec/qemu\nflags: P\noffset 0\n")
    with pytest.raises(OmnijetError, match="flag F"), emulation():
        raise AssertionError
    handler.write_text(handler.read_text().replace("flags: P", "flags: PF"))
    with emulation():
        pass
    assert calls == []


def test_a_system_that_was_not_finished_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]
) -> None:
    def fails(*command: Any) -> subprocess.CompletedProcess[str]:
        (Path(command[-1]) / "usr/bin").mkdir(parents=True)
        (Path(command[-1]) / "usr/bin/python3").touch()
        return subprocess.CompletedProcess(command, 1, "", "E: no such host")

    monkeypatch.setattr(machine_module, "_call", fails)
    root = tmp_path / "debian"
    with pytest.raises(OmnijetError, match="could not be installed") as caught:
        Machine.made(root)
    assert "no such host" in str(caught.value) and list(tmp_path.iterdir()) == []
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/python3").touch()
    assert Machine.made(root).root == root, "it is made once"


def test_a_refusal_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_module.platform, "machine", lambda: "aarch64")
    assert program.main(["--scratch", str(tmp_path / "scratch")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("check-arm64: ") and "Traceback" not in said
    assert not (tmp_path / "scratch").exists()
    (tmp_path / "scratch").mkdir()
    assert program.main(["--scratch", str(tmp_path / "scratch"), "--remove"]) == 0
    assert not (tmp_path / "scratch").exists()
