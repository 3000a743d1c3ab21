"""What the doctor says of a bundle: whole, checked, fresh engines, what can run it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet.runtime.bundle.checked import note_written
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.entries import EngineEntry, EngineLibrary, OrtForm
from omnijet.runtime.bundle.manifest import Manifest, hash_file
from omnijet.runtime.doctor.finding import Finding
from omnijet.runtime.doctor.library import ABSENT, Library
from tests.runtime.bundle.test_folder import edit, toy
from tests.runtime.doctor.patients import patient
from tests.runtime.doctor.test_checks import findings

WAYS, STATE = "ways to run", "bundle check"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy(tmp_path / "my bundle")


def looked(tmp_path: Path, folder: Path, machine: str, **libraries: Library) -> dict[str, Finding]:
    """Returns what a machine says of a bundle."""
    here = patient(tmp_path, machine, libraries=libraries)
    manifest = Manifest.read(folder)
    return findings(replace(here, bundle=folder, manifest=manifest))


def build(folder: Path, target: str, library: EngineLibrary, version: str, capability: int) -> None:
    """Puts toy engines into a bundle."""
    manifest = Manifest.read(folder)
    place = folder / "engines" / target
    place.mkdir(parents=True)
    entries, files = {}, dict(manifest.files)
    for graph in manifest.graphs:
        name = f"engines/{target}/{graph}.engine"
        (folder / name).write_bytes(b"an engine")
        files[name] = hash_file(folder / name)
        entries[graph] = EngineEntry(
            name, "0" * 64, library, version, capability, (), True, files[name].bytes, 1, 1.0, 1
        )
    engines = {**manifest.engines, target: entries}
    replace(manifest, engines=engines, files=files).write(folder)


def build_graphs(folder: Path, version: str) -> None:
    """Puts toy graphs for ONNX Runtime into a bundle."""
    manifest = Manifest.read(folder)
    (folder / "engines/cpu").mkdir(parents=True)
    entries, files = {}, dict(manifest.files)
    for graph in manifest.graphs:
        names = [f"engines/cpu/{graph}.{end}" for end in ("onnx", "weights")]
        for name in names:
            (folder / name).write_bytes(b"a graph")
            files[name] = hash_file(folder / name)
        entries[graph] = EngineEntry(
            names[0], "0" * 64, "onnxruntime", version, 0, (), True, 14, 1, 1.0, 1,
            OrtForm(names[1], "f32", False, False, ()),
        )  # fmt: skip
    replace(manifest, engines={"cpu": entries}, files=files).write(folder)


def test_a_bundle_on_the_processor(tmp_path: Path, folder: Path) -> None:
    found = looked(tmp_path, folder, "pc")
    assert found["bundle"].state == "ok" and found["bundle"].said.startswith("f32, ")
    assert found[WAYS].said == "the processor"
    assert found[STATE].state == "note"
    assert found[STATE].fix == f"omnijet check '{folder}'"


def test_a_bundle_that_was_checked(tmp_path: Path, folder: Path) -> None:
    note_written(folder)
    assert looked(tmp_path, folder, "pc")[STATE].state == "ok"
    time.sleep(0.02)
    os.utime(folder / "tokenizer.json")
    found = looked(tmp_path, folder, "pc")[STATE]
    assert found.state == "note" and found.said.startswith("1 files were touched")
    edit(folder, name="another")
    found = looked(tmp_path, folder, "pc")[STATE]
    assert found.state == "fault" and found.fix == f"omnijet check '{folder}'"


def test_a_bundle_that_is_cut_off(tmp_path: Path, folder: Path) -> None:
    (folder / "graphs/vocoder.weights").write_bytes(b"")
    found = looked(tmp_path, folder, "pc")
    assert found["bundle"].state == "fault" and found["bundle"].fix == f"omnijet check '{folder}'"
    assert "vocoder.weights: 0 bytes" in found["bundle"].said


@pytest.mark.parametrize("there", [True, False])
def test_no_bundle(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "nothing"
    if there:
        place.mkdir()
    found = findings(replace(patient(tmp_path, "pc"), bundle=place))
    assert found["bundle"].state == "fault"
    assert found["bundle"].fix == f"omnijet export CHECKPOINT {place}"
    assert WAYS not in found and STATE not in found


@pytest.mark.parametrize(
    ("machine", "library", "version", "capability"),
    [
        ("orin-nano-jp62", "tensorrt", "10.3.0", 87),
        ("orin-nano-jp72", "tensorrt", "10.16.2", 87),
        ("thor-jp72", "tensorrt", "10.16.2", 110),
        ("workstation", "tensorrt_rtx", "1.7.1.116", 89),
    ],
)
def test_fresh_engines(
    tmp_path: Path, folder: Path, machine: str, library: EngineLibrary, version: str,
    capability: int,
) -> None:  # fmt: skip
    build(folder, "mine", library, version, capability)
    found = looked(tmp_path, folder, machine)
    assert found["engines mine"].state == "ok" and found["engines mine"].said.startswith("fresh: ")
    assert "--engines mine" in found[WAYS].said


def test_stale_engines(tmp_path: Path, folder: Path) -> None:
    build(folder, "orin-nano-jp62", "tensorrt", "10.3.0", 87)
    found = looked(tmp_path, folder, "orin-nano-jp72")
    stale = found["engines orin-nano-jp62"]
    assert stale.state == "fault" and "built by TensorRT 10.3.0, and here is 10.16.2" in stale.said
    assert stale.fix == f"omnijet build '{folder}' --target orin-nano-jp62"
    assert found[WAYS].said == "the processor"


def test_engines_without_a_way_back(tmp_path: Path, folder: Path) -> None:
    """The graphs were left out, because the device had no room for both."""
    build(folder, "mine", "tensorrt", "10.3.0", 87)
    for path in (folder / "graphs").iterdir():
        path.unlink()
    assert looked(tmp_path, folder, "orin-nano-jp62")["engines mine"].state == "ok"
    found = looked(tmp_path / "b", folder, "orin-nano-jp72")["engines mine"]
    assert "copy them back first" in found.said


def test_engines_for_another_gpu_are_no_fault(tmp_path: Path, folder: Path) -> None:
    build(folder, "rtx-ada", "tensorrt_rtx", "1.7.1.116", 89)
    for machine, said in (("pc", "no GPU"), ("orin-nano-jp72", "SM87")):
        found = looked(tmp_path, folder, machine)["engines rtx-ada"]
        assert found.state == "note" and said in found.said and found.fix is None


def test_engines_whose_library_is_not_here(tmp_path: Path, folder: Path) -> None:
    build(folder, "mine", "tensorrt_rtx", "1.7.1.116", 89)
    found = looked(tmp_path, folder, "workstation", tensorrt_rtx=ABSENT)["engines mine"]
    assert found.state == "fault" and "TensorRT-RTX does not load" in found.said


def test_an_engine_that_was_not_copied(tmp_path: Path, folder: Path) -> None:
    build(folder, "mine", "tensorrt", "10.3.0", 87)
    (folder / "engines/mine/vocoder.engine").unlink()
    found = looked(tmp_path, folder, "orin-nano-jp62")["engines mine"]
    assert found.state == "fault" and "vocoder.engine: missing" in found.said


def test_graphs_that_were_built_for_the_processor(tmp_path: Path, folder: Path) -> None:
    build_graphs(folder, "1.32.0")
    assert looked(tmp_path, folder, "pc")["engines cpu"].state == "ok"


def test_graphs_that_a_newer_onnxruntime_built(tmp_path: Path, folder: Path) -> None:
    build_graphs(folder, "9.0.0")
    found = looked(tmp_path, folder, "pc")["engines cpu"]
    assert found.state == "note" and "made for ONNX Runtime 9.0.0 or newer" in found.said
    assert found.fix == f"omnijet build '{folder}' --target cpu"


@pytest.mark.parametrize(
    ("precision", "machine", "option"),
    [("bf16", "pc", "--target cpu"), ("f16", "orin-nano-jp62", "--target auto")],
)
def test_nothing_can_run_it(
    tmp_path: Path, precision: Precision, machine: str, option: str
) -> None:
    """No kernel in BF16 on a processor; no ONNX Runtime of opset 24 on JetPack 6."""
    folder = toy(tmp_path / "bundle", precision=precision)
    found = looked(tmp_path, folder, machine)[WAYS]
    assert found.state == "fault" and found.fix == f"omnijet build {folder} {option}"


def test_a_bundle_that_is_too_large(tmp_path: Path, folder: Path) -> None:
    here = patient(tmp_path, "orin-nano-jp72")
    manifest = Manifest.read(folder)
    here = replace(here, bundle=folder, manifest=manifest)
    for memory, free, state in ((9e9, 8e9, "ok"), (9e9, 1e3, "note"), (1e3, 1e3, "fault")):
        platform = replace(here.platform, memory_bytes=int(memory), free_bytes=int(free))
        found = findings(replace(here, platform=platform))["memory"]
        assert found.state == state, found


def test_engines_that_are_too_large_for_the_card(tmp_path: Path, folder: Path) -> None:
    build(folder, "mine", "tensorrt_rtx", "1.7.1.116", 89)
    here = patient(tmp_path, "workstation")
    here = replace(
        here, bundle=folder, manifest=Manifest.read(folder),
        platform=replace(here.platform, gpu_memory_bytes=1000),
    )  # fmt: skip
    assert findings(here)["memory"].state == "fault"
