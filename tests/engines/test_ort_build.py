"""`omnijet build --target cpu` and `--target cuda`: what a bundle gets, and what it never gets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from omnijet import cli
from omnijet.engines import building as building_module
from omnijet.engines import ort_builder
from omnijet.engines import place as place_module
from omnijet.engines.build_memory import WeightBytes
from omnijet.engines.library import Installed
from omnijet.engines.optimized_graph import tidy
from omnijet.engines.ort_forms import MAPPED, OPTIMIZED
from omnijet.engines.targets.build_rates import predicted_bytes
from omnijet.runtime.backends.instructions import instruction_sets
from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.graph_rules import require_own_graph
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.bundle.operators import FUSED
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture, refused

ROOT = Path(__file__).parent.parent.parent
QUICK = ("audio_encoder", "vision_encoder")


@pytest.fixture(scope="module")
def built(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with graphs for both targets."""
    bundle = Path(shutil.copytree(trained[1], tmp_path_factory.mktemp("built") / "bundle"))
    for target in ("cpu", "cuda"):
        assert cli.main(["build", str(bundle), "--target", target]) == 0
    return bundle


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "bundle"))


def build(capsys: Capture, bundle: Path, *options: str, target: str = "cpu") -> dict[str, Any]:
    """Builds; returns the JSON that the command prints for each graph."""
    capsys.readouterr()
    command = ["build", str(bundle), "--target", target, *options, "--format", "json"]
    assert cli.main(command) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_built_graphs_are_part_of_the_bundle(built: Path, trained: tuple[Path, Path]) -> None:
    """The canonical graphs stay as they are."""
    assert cli.main(["check", str(built)]) == 0
    assert {path.name: path.read_bytes() for path in (built / "graphs").iterdir()} == {
        path.name: path.read_bytes() for path in (trained[1] / "graphs").iterdir()
    }
    manifest = Manifest.read(built)
    assert manifest.engine_targets == ()
    for target in ("cpu", "cuda"):
        entries = manifest.engines[target]
        assert list(entries) == list(manifest.graphs)
        for name, entry in entries.items():
            form = entry.ort
            assert form is not None and entry.library == "onnxruntime" and not entry.profiles
            assert entry.bytes == sum((built / one).stat().st_size for one in entry.files)
            assert 1e6 < entry.peak_bytes < 1e9 and entry.layers > 50
            assert form.optimized == (target == "cpu" and name in OPTIMIZED)
            bound = target == "cpu" and name in OPTIMIZED
            assert form.instructions == (instruction_sets() if bound else ())
            assert form.packs == (name not in MAPPED)
            require_own_graph(built / entry.file, name, FUSED[target])
        log = contents(built / "engines" / target)
        assert len(log) == 3 * len(entries), "graph, weights and description of each"
    assert [path.name for path in built.parent.iterdir()] == ["bundle"]


def test_weights_are_stored_once(built: Path) -> None:
    """A built graph is no larger than the canonical one in f32: packed copies are not kept.

    The vocoder's filters are stored in more parts, so that they take fewer products.
    """
    manifest = Manifest.read(built)
    for name, entry in manifest.engines["cpu"].items():
        times = 2.3 if name == "vocoder" else 1.1
        assert entry.bytes < times * manifest.graphs[name].weight_bytes + 300_000, name


def test_inspect_shows_them(built: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert cli.main(["inspect", str(built), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)["engines"]["cpu"]["vocoder"]
    assert facts["ort"]["optimized"] is True and facts["layer_kinds"]["kinds"]["Conv"] > 50
    assert cli.main(["inspect", str(built)]) == 0
    said = capsys.readouterr().out
    assert "onnxruntime" in said and "nodes" in said and "SM0" not in said


def test_nothing_is_built_twice(copied: Path, capsys: Capture) -> None:
    before = contents(copied)
    facts = build(capsys, copied)
    assert {one["state"] for one in facts.values()} == {"present"}
    assert contents(copied) == before


def test_what_is_asked_for_is_built_again_alone(copied: Path, capsys: Capture) -> None:
    facts = build(capsys, copied, "--graphs", *QUICK, "--force")
    assert [one["why"] for one in facts.values()] == ["asked for"] * 2
    assert cli.main(["check", str(copied)]) == 0
    said = refused(capsys, "build", copied, "--target", "cpu", "--recipe", "cpu-int8")
    assert "another recipe" in said and "floats" in said


def test_another_processor_needs_the_optimized_graphs_anew(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnijet.engines.key.instruction_sets", lambda: ("aarch64",))
    capsys.readouterr()
    command = ["build", str(copied), "--target", "cpu", "--dry-run", "--format", "json"]
    assert cli.main(command) == 0
    facts = {one["graph"]: one for one in json.loads(capsys.readouterr().out)["graphs"]}
    assert facts["vocoder"]["why"] == "instructions changed"
    assert facts["thinker_step"]["state"] == "present"


@pytest.mark.parametrize("ending", ["onnx", "weights", "json"])
def test_what_is_damaged_is_built_again(copied: Path, capsys: Capture, ending: str) -> None:
    path = copied / f"engines/cpu/audio_encoder.{ending}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert cli.main(["check", str(copied)]) == 2
    assert f"omnijet build {copied} --target cpu" in capsys.readouterr().out
    facts = build(capsys, copied, "--graphs", *QUICK)
    assert facts["audio_encoder"]["why"] == f"audio_encoder.{ending} is damaged"
    assert facts["vision_encoder"]["state"] == "present"
    assert cli.main(["check", str(copied)]) == 0


def test_a_dry_run_and_the_list_write_nothing(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    bundle = Path(shutil.copytree(trained[1], tmp_path / "bundle"))
    before = contents(tmp_path)
    for target in ("cpu", "cuda"):
        assert cli.main(["build", str(bundle), "--target", target, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert f"engines/{target}/vocoder.onnx" in said and "never built" in said
    assert cli.main(["build", str(bundle), "--list"]) == 0
    said = capsys.readouterr().out
    assert all(f" {target} " in said for target in ("cpu", "cuda", OLDER))
    assert cli.main(["build", "--list", "--format", "json"]) == 0
    said = capsys.readouterr().out
    assert "fused-cpu" in said and "fused-cuda" in said
    assert contents(tmp_path) == before


def test_a_recipe_of_the_cpu(trained: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    """Its graphs hold ONNX Runtime's own products already."""
    out = tmp_path / "quantized"
    command = ["quantize", str(trained[1]), str(out), "--recipe", "orin-int4", "--data", "none"]
    assert cli.main(command) == 0
    manifest = Manifest.read(out)
    assert cli.main(["build", str(out), "--target", "cpu", "--graphs", "thinker_step"]) == 0
    graph = onnx.load(out / "engines/cpu/thinker_step.onnx", load_external_data=False).graph
    assert sum(node.op_type == "MatMulNBits" for node in graph.node) > 10
    replace(manifest, quantization={**manifest.quantization, "form": "cpu"}).write(out)
    said = refused(capsys, "build", out, "--target", "cuda")
    assert "does not know the operators" in said


def test_what_the_optimizer_fails_at_stays_lowered(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OmnijetError("an operator that is not listed")

    monkeypatch.setattr(ort_builder, "tidy", fails)
    build(capsys, copied, "--graphs", "vocoder", "--force")
    form = Manifest.read(copied).engines["cpu"]["vocoder"].ort
    assert form is not None and not form.optimized and form.instructions == instruction_sets()
    assert cli.main(["check", str(copied)]) == 0


def test_a_saved_graph_with_a_foreign_operator_is_refused(built: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(built)
    for ending in ("onnx", "weights"):
        shutil.copy(built / f"engines/cpu/vocoder.{ending}", tmp_path)
    path = tmp_path / "vocoder.onnx"
    model = onnx.load(path, load_external_data=False)
    next(node for node in model.graph.node if node.op_type == "Sin").op_type = "Cosh"
    onnx.save(model, path)
    with pytest.raises(OmnijetError, match="none that omnijet writes"):
        tidy(path, manifest.contracts["vocoder"], FUSED["cpu"])


def test_no_onnxruntime(copied: Path, capsys: Capture, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    command = ("build", copied, "--target", "cpu", "--force", "--python", python)
    said = refused(capsys, *command)
    assert "ONNX Runtime is not installed" in said and "pip install -U onnxruntime" in said


def test_the_interpreter_of_tensorrt_is_not_asked(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIJET_TRT_PYTHON", "/nowhere/python")
    assert build(capsys, copied, "--graphs", *QUICK)["audio_encoder"]["state"] == "present"


def test_an_onnxruntime_that_does_not_read_a_graph(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = {"done": False, "stage": "read", "version": "1.25.0", "said": ["no kernel for If"]}
    monkeypatch.setattr(ort_builder, "run_worker", lambda *_, **__: verdict)
    before = Manifest.read(copied)
    said = refused(capsys, "build", copied, "--target", "cpu", "--force", "--graphs", "vocoder")
    assert "ONNX Runtime 1.25.0 does not read vocoder" in said and "no kernel for If" in said
    assert Manifest.read(copied) == before and not check_files(Bundle.open(copied))


def test_a_disk_that_is_full(copied: Path) -> None:
    """The graph before is there still, and nothing lies about."""
    words = f"build {copied} --target cpu --graphs talker_step --force"
    blocks = Manifest.read(copied).engines["cpu"]["talker_step"].bytes // 1024 // 2
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {blocks}; exec {sys.executable} -m omnijet {words}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "File too large" in done.stderr, done.stderr
    assert "ulimit -f" in done.stderr and "Traceback" not in done.stderr
    assert cli.main(["check", str(copied)]) == 0
    assert [path.name for path in copied.parent.iterdir()] == ["bundle"]


def test_too_little_memory_is_told_before(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnijet.engines.build_memory.free_bytes", lambda: 100_000_000)
    before = contents(copied)
    said = refused(capsys, "build", copied, "--target", "cpu", "--graphs", "dit_step", "--force")
    assert "too little memory" in said and "0.1 GB free" in said and "swap" in said
    assert contents(copied) == before


def test_a_build_takes_what_was_predicted(built: Path) -> None:
    for name, entry in Manifest.read(built).engines["cpu"].items():
        weights = WeightBytes.of(built / "graphs" / f"{name}.onnx")
        assert entry.peak_bytes < predicted_bytes(weights, "onnxruntime"), name


def test_a_bundle_that_cannot_be_written(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = place_module.tempfile.TemporaryFile

    def refuse(*args: Any, **options: Any) -> Any:
        if "dir" in options:
            raise OSError(30, "Read-only file system")
        return real(*args, **options)

    monkeypatch.setattr(place_module.tempfile, "TemporaryFile", refuse)
    text = refused(capsys, "build", copied, "--target", "cpu", "--force")
    assert "cannot be put into the bundle" in text and "Read-only" in text


def test_a_killed_build_goes_on_where_it_was(copied: Path, capsys: Capture) -> None:
    """Another one meanwhile is refused."""
    stranger = copied / "engines/cpu/notes.txt"
    stranger.write_bytes(b"a user's own")
    command = ("build", copied, "--target", "cpu", "--force")
    process = subprocess.Popen(
        [sys.executable, "-m", "omnijet", *map(str, command)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        work = f".{copied.name}.engines-*/*.weights"
        _wait(lambda: bool(list(copied.parent.glob(work))), process)
        os.kill(process.pid, signal.SIGSTOP)  # it holds the lock
        assert "another process" in refused(capsys, *command)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    faults = check_files(Bundle.open(copied))
    assert all(fault.endswith("not in the manifest") for fault in faults), faults
    facts = build(capsys, copied)
    assert {one["state"] for one in facts.values()} <= {"present", "missing", "stale"}
    assert [path.name for path in copied.parent.iterdir()] == ["bundle"]
    assert check_files(Bundle.open(copied)) == ["engines/cpu/notes.txt: not in the manifest"]
    assert stranger.read_bytes() == b"a user's own"


def _wait(until: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


OLDER = "cpu-jp62"


def test_graphs_for_an_older_onnxruntime_belong_to_no_machine(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PC builds them with its own ONNX Runtime; the device finds nothing to do."""
    build(capsys, copied, target=OLDER)
    manifest = Manifest.read(copied)
    for name, entry in manifest.engines[OLDER].items():
        assert entry.ort is not None and entry.version == "1.23" and entry.caches_in_place
        assert not entry.ort.optimized and entry.ort.instructions == ()
        require_own_graph(copied / entry.file, name, FUSED[OLDER])
        opsets = onnx.load(copied / entry.file, load_external_data=False).opset_import
        assert {one.domain: one.version for one in opsets}[""] <= 21
    before = contents(copied)
    monkeypatch.setattr("omnijet.engines.key.instruction_sets", lambda: ("aarch64",))
    with_version(monkeypatch, "1.23.2")
    facts = build(capsys, copied, target="cpu")
    assert {one["state"] for one in facts.values()} == {"present"}
    assert contents(copied) == before


def with_version(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Lets every interpreter seem to have this version of ONNX Runtime."""
    here = Installed("onnxruntime", sys.executable, version, (), None)
    monkeypatch.setattr(building_module, "find_library", lambda *_: here)


def test_the_installed_onnxruntime_decides_the_form(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_version(monkeypatch, "1.23.2")
    command = ["build", str(copied), "--target", "cpu", "--graphs", *QUICK]
    for extra in (["--dry-run"], []):
        assert cli.main([*command, *extra]) == 0
        said = capsys.readouterr()
        assert "1.23.2 reads no canonical graphs" in said.err and f"target {OLDER}" in said.err
        assert f"engines/{OLDER}/audio_encoder.onnx" in said.out or not extra
    assert list(Manifest.read(copied).engines[OLDER]) == list(QUICK)
    assert "copy the bundle to the device" in said.out
    monkeypatch.setattr(building_module, "cpu_target", lambda: OLDER)
    assert cli.main([*command]) == 0
    assert f"omnijet run {copied}\n" in capsys.readouterr().out
    with_version(monkeypatch, "1.22.1")
    said_ = refused(capsys, "build", copied, "--target", "cpu")
    assert "older than the target's" in said_ and "1.22.1" in said_
