"""`omnijet build` with TensorRT-RTX: what a bundle gets, and what it never gets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnijet import cli
from omnijet.engines import place as place_module
from omnijet.engines.library import Installed
from omnijet.engines.process import PYTHON_VARIABLE
from omnijet.runtime.bundle.manifest import Manifest
from tests.command import Capture, refused

ROOT = Path(__file__).parent.parent.parent
TARGET = "rtx-ampere"
QUICK = ("audio_encoder", "vision_encoder")


@pytest.fixture(scope="module")
def built(nano_f16: Path, rtx: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with engines of two graphs."""
    bundle = tmp_path_factory.mktemp("built") / "bundle"
    shutil.copytree(nano_f16, bundle)
    assert cli.main(["build", str(bundle), "--target", TARGET, "--graphs", *QUICK]) == 0
    return bundle


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "bundle"))


def build(capsys: Capture, bundle: Path, *options: str) -> dict[str, Any]:
    """Builds; returns the JSON that the command prints for each graph."""
    capsys.readouterr()
    command = ["build", str(bundle), "--target", TARGET, *options, "--format", "json"]
    assert cli.main(command) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_engines_are_part_of_the_bundle(built: Path, rtx: Installed, capsys: Capture) -> None:
    assert cli.main(["check", str(built)]) == 0
    manifest = Manifest.read(built)
    assert list(manifest.engines[TARGET]) == list(QUICK)
    for graph, entry in manifest.engines[TARGET].items():
        assert entry.version == rtx.version and entry.compute_capability == 86
        assert (built / entry.file).stat().st_size == entry.bytes > 100_000
        assert entry.layers > 50 and 1e8 < entry.peak_bytes < 4e9 and entry.build_seconds > 0
        symbols = manifest.contracts[graph].symbols
        assert all(set(profile) == set(symbols) for profile in entry.profiles)
        log = (built / f"engines/{TARGET}/{graph}.log").read_text()
        assert "Opset version" in log and str(built.parent) not in log
    assert [path.name for path in built.parent.iterdir()] == ["bundle"]


def test_bf16_behind_a_link(
    nano_bf16: Path,
    rtx: Installed,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unfinished engines lie beside the folder, not beside the link, which may be on another disk;
    files cannot be renamed across disks.
    """
    bundle = tmp_path / "disk" / "bundle"
    shutil.copytree(nano_bf16, bundle)
    link = tmp_path / "link"
    link.symlink_to(bundle)
    moved: list[Path] = []
    rename_new = place_module.rename_new

    def noted(source: Path, target: Path) -> None:
        moved.append(source)
        rename_new(source, target)

    monkeypatch.setattr(place_module, "rename_new", noted)
    target = ("--target", "rtx-ada", "--graphs", "audio_encoder")
    assert cli.main(["build", str(link), *target]) == 0
    engines = [path for path in moved if path.suffix == ".engine"]
    assert [path.parent.parent for path in engines] == [bundle.parent]
    assert [path.parent.name[:16] for path in engines] == [".bundle.engines-"]
    entry = Manifest.read(bundle).engines["rtx-ada"]["audio_encoder"]
    assert (bundle / entry.file).stat().st_size == entry.bytes
    facts = json.loads((bundle / "engines/rtx-ada/audio_encoder.json").read_text())
    assert facts["layers"]["numbers"]["BF16"] > 20
    assert "not compared" in (bundle / "engines/rtx-ada/compare.sh").read_text()
    assert cli.main(["check", str(bundle)]) == 0


def test_inspect_shows_layers_and_numbers(built: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert cli.main(["inspect", str(built), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)["engines"][TARGET]
    layers = facts["audio_encoder"]["layer_kinds"]
    assert layers["of"] == "network" and layers["kinds"]["MATRIX_MULTIPLY"] > 5
    assert sum(layers["kinds"].values()) == facts["audio_encoder"]["layers"]
    assert layers["numbers"]["HALF"] > 20
    assert cli.main(["inspect", str(built)]) == 0
    assert "MATRIX_MULTIPLY" in capsys.readouterr().out


def test_nothing_is_built_twice(copied: Path, capsys: Capture) -> None:
    before = contents(copied)
    facts = build(capsys, copied, "--graphs", *QUICK)
    assert [facts[graph]["state"] for graph in QUICK] == ["present", "present"]
    assert contents(copied) == before


def test_what_changed_is_built_again_alone(copied: Path, capsys: Capture) -> None:
    before = Manifest.read(copied).engines[TARGET]
    facts = build(capsys, copied, "--graphs", *QUICK, "--limit", "chunks=4")
    assert facts["audio_encoder"]["why"] == "profiles changed"
    assert facts["vision_encoder"]["state"] == "present"
    after = Manifest.read(copied).engines[TARGET]
    assert after["audio_encoder"].profiles[-1]["chunks"] == (1, 3, 4)
    assert after["vision_encoder"] == before["vision_encoder"]
    assert cli.main(["check", str(copied)]) == 0


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_a_corrupt_engine_is_built_again(
    copied: Path, capsys: Capture, harm: Callable[[Path], None]
) -> None:
    path = copied / f"engines/{TARGET}/audio_encoder.engine"
    harm(path)
    if harm is not flip:  # a wrong size is found at once, with the way out
        assert cli.main(["check", str(copied)]) == 2
        assert f"omnijet build {copied} --target {TARGET}" in capsys.readouterr().out
    facts = build(capsys, copied, "--graphs", *QUICK)
    assert facts["audio_encoder"]["why"] == "audio_encoder.engine is damaged"
    assert facts["vision_encoder"]["state"] == "present"
    assert cli.main(["check", str(copied)]) == 0


def test_a_damaged_graph_is_not_built_from(copied: Path, capsys: Capture) -> None:
    cut(copied / "graphs" / "vocoder.weights")
    assert "vocoder.weights" in refused(capsys, "build", copied, "--target", TARGET)


@pytest.mark.parametrize("suffix", [".onnx", ".weights"])
def test_a_graph_damaged_within_is_not_built_from(
    copied: Path, capsys: Capture, suffix: str
) -> None:
    """An engine of a replaced graph would count as one of the right graph."""
    path = (copied / "graphs" / "talker_step").with_suffix(suffix)
    path.write_bytes(bytes(1000) + path.read_bytes()[1000:])
    command = ("build", copied, "--target", TARGET, "--graphs", "talker_step")
    text = refused(capsys, *command)
    assert f"talker_step{suffix}" in text and "export" in text
    assert "talker_step" not in Manifest.read(copied).engines[TARGET]


def test_an_engine_that_does_not_fit_the_disk(copied: Path) -> None:
    """The library ignores the fault and reports success."""
    words = f"build {copied} --target {TARGET} --graphs audio_encoder --force"
    blocks = Manifest.read(copied).engines[TARGET]["audio_encoder"].bytes // 1024 - 100
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {blocks}; exec {sys.executable} -m omnijet {words}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "could not be written" in done.stderr, done.stderr
    assert "File too large" in done.stderr and "free space" in done.stderr
    assert cli.main(["check", str(copied)]) == 0, "the engine before is there"


def test_what_cannot_be_moved_in_leaves_the_engine_before(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def replace(source: Any, to: Any) -> None:
        if str(to).endswith(".engine"):
            raise PermissionError(13, "Permission denied", str(to))
        real(source, to)

    monkeypatch.setattr(os, "replace", replace)
    refused(capsys, "build", copied, "--target", TARGET, "--graphs", "audio_encoder", "--force")
    monkeypatch.undo()
    assert list(Manifest.read(copied).engines[TARGET]) == list(QUICK)
    assert cli.main(["check", str(copied)]) == 0


def test_engines_behind_a_link_are_refused(copied: Path, tmp_path: Path, capsys: Capture) -> None:
    """What is behind a link may be somebody else's: nothing there is replaced or removed."""
    elsewhere = tmp_path / "elsewhere"
    shutil.move(copied / "engines", elsewhere)
    (copied / "engines").symlink_to(elsewhere)
    (elsewhere / "photo.txt").write_text("mine")
    before = contents(elsewhere)
    said = refused(capsys, "build", copied, "--target", TARGET, "--graphs", *QUICK, "--force")
    assert "a link to" in said and "mount" in said
    assert contents(elsewhere) == before


def test_a_bundle_that_cannot_be_written_is_told_before(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = place_module.tempfile.TemporaryFile

    def refuse(*args: Any, **options: Any) -> Any:
        if "dir" in options:
            raise OSError(30, "Read-only file system")
        return real(*args, **options)

    monkeypatch.setattr(place_module.tempfile, "TemporaryFile", refuse)
    text = refused(capsys, "build", copied, "--target", TARGET, "--force")
    assert "cannot be put into the bundle" in text and "Read-only" in text


@pytest.mark.parametrize("victim", ["command", "worker"])
def test_a_killed_build_goes_on_where_it_was(copied: Path, capsys: Capture, victim: str) -> None:
    """The build is killed and cannot clean up. The worker ends with its parent."""
    stranger = copied / "engines" / TARGET / "notes.txt"
    stranger.write_bytes(b"a user's own")
    command = ("build", copied, "--target", TARGET, "--graphs", "dit_step")
    process = subprocess.Popen(
        [sys.executable, "-m", "omnijet", *map(str, command)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def work() -> list[Path]:
        return list(copied.parent.glob(f".{copied.name}.*"))

    try:
        _wait(lambda: bool(list(copied.parent.glob(f".{copied.name}.engines-*/*.log"))), process)
        (worker,) = _children(process.pid)
        assert "another process" in refused(capsys, *command)
        os.kill(process.pid if victim == "command" else worker, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    if victim == "command":
        assert process.returncode == -signal.SIGKILL
        _wait(lambda: not Path(f"/proc/{worker}").exists())
    else:
        assert process.returncode == 2 and "too little memory" in said and "--graphs" in said
        assert not work()
    assert "dit_step" not in Manifest.read(copied).engines[TARGET]
    facts = build(capsys, copied, "--graphs", *QUICK)
    assert [facts[graph]["state"] for graph in QUICK] == ["present", "present"]
    assert not work() and stranger.read_bytes() == b"a user's own"
    capsys.readouterr()
    assert cli.main(["check", str(copied)]) == 2
    assert f"engines/{TARGET}/notes.txt: not in the manifest" in capsys.readouterr().out


def _wait(until: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(one) for task in tasks for one in (task / "children").read_text().split()]


def test_quantizing_takes_no_engines_along(copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "int4"
    command = ["quantize", str(copied), str(out), "--recipe", "orin-int4", "--data", "none"]
    assert cli.main(command) == 0
    assert Manifest.read(out).engines == {} and not (out / "engines").exists()
    assert cli.main(["check", str(out)]) == 0


def test_a_dry_run_prints_and_writes_nothing(copied: Path, capsys: Capture) -> None:
    before = contents(copied.parent)
    for target in (TARGET, "rtx-ada", "orin-nano-jp62"):
        capsys.readouterr()
        command = ["build", str(copied), "--target", target, "--dry-run"]
        assert cli.main(command) == 0
        assert f"engines/{target}/vocoder.engine" in capsys.readouterr().out
        assert cli.main([*command, "--format", "json"]) == 0
        facts = {one["graph"]: one for one in json.loads(capsys.readouterr().out)["graphs"]}
        assert len(facts) == 6 and facts["thinker_step"]["state"] == "missing"
        assert (facts["audio_encoder"]["state"] == "present") == (target == TARGET)
    assert contents(copied.parent) == before


def test_missing_bindings(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    command = ("build", copied, "--target", TARGET)
    said = refused(capsys, *command, "--python", python)
    assert "not installed" in said and "pip install" in said
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "nowhere"))
    assert "does not run" in refused(capsys, *command)
    said = refused(capsys, "build", copied, "--target", "orin-nx-jp72", "--python", python)
    assert "TensorRT with its Python bindings" in said and PYTHON_VARIABLE in said


def test_too_little_memory_is_told_before(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnijet.engines.build_memory.free_bytes", lambda: 100_000_000)
    before = contents(copied)
    said = refused(capsys, "build", copied, "--target", TARGET, "--graphs", "dit_step")
    assert "too little memory" in said and "0.1 GB free" in said and "swap" in said
    assert contents(copied) == before
    build(capsys, copied, "--graphs", *QUICK)  # existing engines need no library


def test_an_operator_that_the_parser_lacks(
    nano_f16: Path, rtx: Installed, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the node, the reason and a way out; the bundle is unchanged. A newer version
    may write an operator that a parser lacks.
    """
    import onnx

    for reader in ("export.graphfile.loading", "engines.build"):
        monkeypatch.setattr(f"omnijet.{reader}.require_own_graph", lambda *given: None)
    bundle = Path(shutil.copytree(nano_f16, tmp_path / "bundle"))
    path = bundle / "graphs" / "audio_encoder.onnx"
    model = onnx.load(path, load_external_data=False)
    node = next(node for node in model.graph.node if node.op_type == "Gelu")
    node.op_type, node.name = "Bernoulli", "strange.node"
    del node.attribute[:]
    onnx.save(model, path)
    _rehash(bundle, "graphs/audio_encoder.onnx")
    before = contents(bundle)
    said = refused(capsys, "build", bundle, "--target", TARGET, "--graphs", "audio_encoder")
    assert "strange.node" in said and "Bernoulli" in said and "decomposed" in said
    assert contents(bundle) == before and len(list(tmp_path.iterdir())) == 1


def _rehash(bundle: Path, name: str) -> None:
    from dataclasses import replace

    from omnijet.runtime.bundle.manifest import hash_file

    manifest = Manifest.read(bundle)
    files = {**manifest.files, name: hash_file(bundle / name)}
    replace(manifest, files=files).write(bundle)
