"""`omnijet check --engines` on the double: right engines pass, wrong ones are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omnijet import cli
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Library, Manifest, hash_file
from omnijet.runtime.commands import references
from omnijet.runtime.commands.reference_trial import trial
from omnijet.runtime.reference.reference import FOLDER
from tests.command import Capture, refused
from tests.runtime.backends.trt.engines import Machine, machine, with_engines
from tests.runtime.reference.wrong import changed, shuffled

ROOT = Path(__file__).parents[4]
JOB = {"provider": None, "engines": "orin-nx", "on_processor": False}
PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from omnijet.runtime.commands.reference_trial import main
from tests.runtime.backends.trt.engines import machine
with machine(**{{}}):
    main()
"""


def tried(bundle: Path, graph: str) -> dict[str, Any]:
    return trial({**JOB, "bundle": str(bundle), "graph": graph})


def with_wrong_engine(bundle: Path, graph: str, weight: str, folder: Path) -> None:
    """Makes the engine of a graph one of other weights; the manifest says that it is right."""
    manifest = Manifest.read(bundle)
    entry = manifest.engines["orin-nx"][graph]
    engine = bundle / entry.file
    wrong = changed(bundle / manifest.graphs[graph].file, folder, [weight], shuffled)
    facts = json.loads(engine.read_text())
    engine.write_text(json.dumps({**facts, "onnx": str(wrong)}))
    found = hash_file(engine)
    entry = replace(entry, bytes=found.bytes)
    engines = {"orin-nx": {**manifest.engines["orin-nx"], graph: entry}}
    files = {**manifest.files, entry.file: found}
    replace(manifest, engines=engines, files=files).write(bundle)


@pytest.mark.parametrize(("library", "in_place", "integrated"), [
    ("tensorrt", True, True), ("tensorrt", False, False), ("tensorrt_rtx", True, False),
])  # fmt: skip
def test_right_engines(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    library: Library, in_place: bool, integrated: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = with_engines(trained[1], tmp_path / "bundle", library=library, in_place=in_place)
    with machine(library, integrated=integrated):
        for graph in Manifest.read(bundle).graphs:
            found = tried(bundle, graph)["comparison"]
            assert found["faults"] == [] and found["snr_db"] > 55, graph


def test_a_wrong_engine_and_its_layers(
    trained: tuple[Path, Path], tmp_path: Path, orin: Machine
) -> None:
    bundle = with_engines(trained[1], tmp_path / "bundle")
    with_wrong_engine(bundle, "talker_step", "decoder.layers.1.down.weight", tmp_path / "wrong")
    assert "layers 1 to 2" in tried(bundle, "talker_step")["comparison"]["faults"][0]
    assert tried(bundle, "thinker_step")["comparison"]["faults"] == []


def test_caches_shorter_than_the_prompt(
    trained: tuple[Path, Path], tmp_path: Path, orin: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.runtime.backends.trt import engines

    short = {s: (16,) * 3 if s == "capacity" else v for s, v in engines.STEP.items()}
    monkeypatch.setitem(engines.PROFILES, "thinker_step", (short,))
    bundle = with_engines(trained[1], tmp_path / "bundle")
    why = tried(bundle, "thinker_step")["not compared"]
    assert "built for less" in why["what"] and "--limit capacity=33" in why["fix"]


def test_no_library_is_no_fault_of_the_engine(built: Path) -> None:
    with machine("tensorrt_rtx"):
        assert "TensorRT is not here" in tried(built, "vocoder")["cannot run"]["what"]


def test_the_command(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Without ONNX graphs, as on a device that has no room for them."""
    program = tmp_path / "child.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(references, "CHILD", program)
    bundle = with_engines(trained[1], tmp_path / "bundle")
    with_wrong_engine(bundle, "dit_step", "blocks.3.qkv.weight", tmp_path / "wrong")
    check = ["check", str(bundle), "--engines", "orin-nx"]
    assert cli.main(check) == 1
    said = capsys.readouterr().out
    assert said.count(" right ") == 5 and said.count(" WRONG ") == 1
    assert "FAILED dit_step: first/" in said and said.endswith("FAILED\n")


def test_a_bundle_without_references(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    bundle = with_engines(trained[1], tmp_path / "bundle")
    manifest = Manifest.read(bundle)
    files = {k: v for k, v in manifest.files.items() if not k.startswith(f"{FOLDER}/")}
    for path in (bundle / FOLDER).iterdir():
        path.unlink()
    (bundle / FOLDER).rmdir()
    replace(manifest, files=files).write(bundle)
    said = refused(capsys, "check", bundle, "--engines", "orin-nx")
    assert f"omnijet check {bundle} --record-reference" in said
    assert Bundle.open(bundle)
