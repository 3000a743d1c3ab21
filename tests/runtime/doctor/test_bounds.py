"""Whatever hangs, breaks or lies in the way: every check ends, and the others are made."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.runtime.doctor import command
from omnijet.runtime.doctor.check import Check, examine, within
from omnijet.runtime.doctor.checks import checks_for
from omnijet.runtime.doctor.finding import Finding, ok
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.library import ABSENT, AskedLibraries, Library, parsed
from omnijet.runtime.profiling import jetson
from omnijet.runtime.profiling.jetson import run_tool
from tests.command import Capture
from tests.machines import fake_machine
from tests.runtime.doctor.patients import patient


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """An event that a hanging check waits for; it comes at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_check_that_hangs(tmp_path: Path, stuck: threading.Event) -> None:
    def hangs(here: Here) -> Finding:
        stuck.wait()
        return ok("at last")

    here = patient(tmp_path, "pc")
    checks = [Check("first", lambda here: ok("a")), Check("stuck", hangs),
              Check("last", lambda here: ok("b"))]  # fmt: skip
    started = time.monotonic()
    found = examine(checks, here, limit_s=0.2)
    assert time.monotonic() - started < 5
    assert [one.state for one in found] == ["ok", "unknown", "ok"]
    assert found[1].said == "no answer within 0.2 s"


def test_a_check_that_does_not_matter_says_nothing(tmp_path: Path) -> None:
    assert examine([Check("x", lambda here: None)], patient(tmp_path, "pc")) == []


def test_a_call_that_raises() -> None:
    done = within(5, lambda: 1 // 0)
    assert done.ended and isinstance(done.error, ZeroDivisionError)


def test_nvpmodel_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("nvpmodel", "jetson_clocks"):
        (tools / name).write_text("#!/bin/sh\nexec sleep 60\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(jetson, "TIMEOUT_S", 0.3)
    here = replace(patient(tmp_path, "orin-nano-jp62"), tool=run_tool)
    wanted = [check for check in checks_for(here) if check.name in ("power mode", "clocks")]
    started = time.monotonic()
    found = examine(wanted, here)
    assert time.monotonic() - started < 5
    assert [one.state for one in found] == ["ok", "ok"]  # the files tell


def test_pipes_in_place_of_files(tmp_path: Path) -> None:
    """A pipe without a writer hangs whoever opens it."""
    here = patient(tmp_path, "orin-nano-jp62")
    for path in [path for path in here.root.rglob("*") if path.is_file()]:
        path.unlink()
        os.mkfifo(path)
    started = time.monotonic()
    found = examine(checks_for(here), here, limit_s=5)
    assert time.monotonic() - started < 30
    assert not [one for one in found if "no answer" in one.said or "failed" in one.said]


def test_a_bundle_of_pipes(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    os.mkfifo(folder / "manifest.json")
    here = replace(patient(tmp_path, "pc"), bundle=folder)
    found = {one.name: one for one in examine(checks_for(here), here, limit_s=5)}
    assert found["bundle"].state == "fault" and "no answer" not in found["bundle"].said


# -- libraries, in processes of their own ----------------------------------------------


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the processes of libraries import from, before all others."""
    folder = tmp_path / "planted"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def asked(*names: str, limit_s: float = 120) -> dict[str, Library]:
    with AskedLibraries(limit_s, names) as libraries:
        return {name: libraries(name) for name in names}


def test_libraries_that_crash(planted: Path) -> None:
    crash = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    (planted / "onnxruntime.py").write_text(crash)
    (planted / "sounddevice.py").write_text("import os\nos._exit(3)")
    (planted / "tensorrt.py").write_text("raise RuntimeError('no such device')")
    found = asked("tensorrt", "onnxruntime", "sounddevice")
    assert {name: one.error for name, one in found.items()} == {
        "onnxruntime": "its import ended the process by SIGSEGV",
        "sounddevice": "its import ended the process with exit code 3",
        "tensorrt": "no such device",
    }
    assert not any(one.works or one.missing for one in found.values())


def test_a_library_that_hangs(planted: Path) -> None:
    (planted / "tensorrt.py").write_text("import time\ntime.sleep(600)")
    started = time.monotonic()
    found = asked("tensorrt", limit_s=2)["tensorrt"]
    assert time.monotonic() - started < 60
    assert found.error == "its import did not end within 2 s" and not found.missing


def test_bindings_tell_what_they_loaded(planted: Path) -> None:
    (planted / "tensorrt.py").write_text("__version__ = '10.3.0'\n")
    (planted / "sounddevice.py").write_text(
        "__version__ = '0.5'\n"
        "def query_devices():\n"
        "    return [{'max_input_channels': 1, 'max_output_channels': 0},\n"
        "            {'max_input_channels': 2, 'max_output_channels': 2}]\n"
    )
    found = asked("tensorrt", "sounddevice", "onnxruntime")
    assert found["tensorrt"] == Library(
        "10.3.0", facts={"version": "10.3.0", "packages": [], "loaded": None}
    )
    facts = found["sounddevice"].facts
    assert (facts["microphones"], facts["speakers"]) == (2, 1)
    assert (
        found["onnxruntime"].works
        and "CPUExecutionProvider" in (found["onnxruntime"].facts["providers"])
    )
    assert found["onnxruntime"].packages


def test_the_cuda_runtime_says_what_it_finds(planted: Path) -> None:
    """A runtime without a driver refuses, and its name of the error is told."""
    (planted / "cuda" / "bindings").mkdir(parents=True)
    for package in ("cuda", "cuda/bindings"):
        (planted / package / "__init__.py").touch()
    (planted / "cuda" / "bindings" / "runtime.py").write_text(
        "def cudaRuntimeGetVersion(): return 0, 12060\n"
        "def cudaGetDeviceCount(): return 35, None\n"
        "def cudaGetErrorName(error): return 0, b'cudaErrorInsufficientDriver'\n"
    )
    found = asked("cuda")["cuda"]
    assert found.works and found.facts["runtime"] == "12.6"
    assert found.facts["refused"] == "cudaErrorInsufficientDriver" and not found.facts["devices"]


@pytest.mark.parametrize("module", ["tensorrt", "sounddevice", "onnxruntime"])
def test_a_library_whose_own_import_is_missing_is_not_missing(planted: Path, module: str) -> None:
    (planted / f"{module}.py").write_text("import a_module_that_is_not_there")
    found = asked(module)[module]
    assert not found.works and not found.missing
    assert found.error is not None and "a_module_that_is_not_there" in found.error


@pytest.mark.parametrize(
    ("said", "code", "found"),
    [
        ("", 1, Library(error="its import ended the process with exit code 1")),
        ("[1]\n", -9, Library(error="its import ended the process by SIGKILL")),
        ("noise\n\n" + '{"missing": true, "error": "x"}\n', 0,
         Library("", True, "x", {"missing": True, "error": "x"})),
    ],
)  # fmt: skip
def test_what_a_process_says(said: str, code: int, found: Library) -> None:
    assert parsed(said, code) == found


def test_the_number_of_a_version() -> None:
    from omnijet.runtime.doctor.library_trial import version_text

    assert [version_text(number) for number in (8601, 100300, 101602, 110401, 10701)] == [
        "8.6.1", "10.3.0", "10.16.2", "11.4.1", "1.7.1",
    ]  # fmt: skip


# -- the command -----------------------------------------------------------------------


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "AskedLibraries", lambda: nullcontext(lambda name: ABSENT))


def test_facts_that_hang(
    without_libraries: None, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:  # fmt: skip
    """A driver may hang when it is asked for the GPU."""

    def hangs() -> None:
        stuck.wait()

    monkeypatch.setattr(command.Platform, "read", hangs)
    monkeypatch.setattr(command, "FACTS_S", 0.2)
    assert cli.main(["doctor"]) == 1  # no ONNX Runtime
    said = capsys.readouterr().out
    assert "the system does not say how much memory there is" in said


def test_a_rehearsal_in_the_environment(
    tmp_path: Path, without_libraries: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("OMNIJET_MACHINE_ROOT", str(fake_machine(tmp_path, "orin-nano-jp62")))
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "JetPack 6.2 (Jetson Linux 36.4.3)" in said
    assert "FAULT TensorRT library:\n    sudo apt install nvidia-jetpack\n" in said
    assert said.splitlines()[-1].endswith("faults: something will not work")
