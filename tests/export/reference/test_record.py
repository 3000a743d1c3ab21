"""Export and quantize record references; a bundle that lacks them gets them later."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnijet import cli
from omnijet.engines.references import record_lacking
from omnijet.export.reference import record
from omnijet.export.reference.record import lacking, with_references
from omnijet.export.reference.recorder import moved
from omnijet.quantization.quantize import plan_for, quantize_bundle
from omnijet.quantization.recipes import RECIPES
from omnijet.runtime.bundle.checked import Record
from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.reference.reference import FOLDER, Reference, file_of
from tests.command import Capture


def silent(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def old(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    """A bundle as older versions wrote them, without references."""
    bundle = Path(shutil.copytree(nano[1], tmp_path / "bundle"))
    shutil.rmtree(bundle / FOLDER)
    manifest = Manifest.read(bundle)
    files = {k: v for k, v in manifest.files.items() if not k.startswith(f"{FOLDER}/")}
    replace(manifest, files=files).write(bundle)
    return bundle


def test_every_graph_of_an_export_has_one(nano: tuple[Path, Path]) -> None:
    bundle = Bundle.open(nano[1])
    assert lacking(bundle.folder, bundle.manifest) == []
    for graph in bundle.manifest.graphs:
        found = Reference.of(bundle, graph)
        assert min(found.moved_db.values()) > 30 and found.made_with["onnxruntime"]
        assert all(np.isfinite(one.values).all() for one in found.outputs.values())


def test_an_old_bundle_gets_them(old: Path, nano: tuple[Path, Path], capsys: Capture) -> None:
    """They are those of the export, byte for byte, and the bundle stays one that was checked."""
    assert cli.main(["check", str(old)]) == 0
    assert cli.main(["check", str(old), "--record-reference"]) == 0
    assert "recorded: audio_encoder, " in capsys.readouterr().out
    assert not check_files(Bundle.open(old)) and Record.read(old) is not None
    for graph in Manifest.read(old).graphs:
        name = file_of(graph)
        assert (old / name).read_bytes() == (nano[1] / name).read_bytes()
    assert record_lacking(old, silent) == []
    assert [path.name for path in old.parent.iterdir()] == ["bundle"]


def test_a_damaged_reference_is_recorded_again(nano: tuple[Path, Path], tmp_path: Path) -> None:
    old = Path(shutil.copytree(nano[1], tmp_path / "bundle"))
    content = (old / file_of("vocoder")).read_bytes()
    (old / file_of("vocoder")).write_bytes(content[:5000] + b"?" + content[5001:])
    with pytest.raises(OmnijetError, match="cannot be used"):
        Reference.of(Bundle(old, Manifest.read(old)), "vocoder")
    assert record_lacking(old, silent) == ["vocoder"]
    assert Reference.of(Bundle.open(old), "vocoder").graph == "vocoder"


def test_a_process_that_dies_leaves_a_whole_bundle(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "child.py"
    program.write_text("import os, sys; sys.stdin.read(); os.abort()")
    monkeypatch.setattr(record, "CHILD", program)
    manifest = Manifest.read(old)
    assert with_references(old, manifest, manifest.graphs) == manifest
    assert caplog.text.count("no reference of ") == 6 and not (old / FOLDER).exists()
    assert record_lacking(old, silent) == [] and not check_files(Bundle.open(old))


def test_a_process_that_hangs_is_ended(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "child.py"
    program.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(record, "CHILD", program)
    monkeypatch.setattr(record, "LEAST_S", 1)
    manifest = Manifest.read(old)
    assert with_references(old, manifest, ["vocoder"]) == manifest


def test_quantized_graphs_get_their_own(nano: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = Bundle.open(nano[1]), tmp_path / "out"
    recipe = RECIPES["weights-only"] if "weights-only" in RECIPES else next(
        one for one in RECIPES.values() if one.rounds_weights_alone
    )  # fmt: skip
    plan = plan_for(source, recipe)
    quantize_bundle(nano[1], out, recipe, plan, {}, processes=0)
    made = Bundle.open(out)
    assert lacking(out, made.manifest) == []
    changed = {layer.graph for layer in plan}
    for graph in made.manifest.graphs:
        same = (out / file_of(graph)).read_bytes() == (nano[1] / file_of(graph)).read_bytes()
        assert same == (graph not in changed)


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_inputs_move_by_one_unit(precision: str) -> None:
    inputs = {"x": np.full((3, 4), 8, np.float16), "cos": np.ones(3, np.float32),
              "grid": np.array([4, 6])}  # fmt: skip
    found = moved(inputs, "f16" if precision == "f16" else "bf16")
    assert set(np.abs(found["x"] / 8 - 1).ravel()) == {2.0 ** (-11 if precision == "f16" else -8)}
    assert found["cos"] is inputs["cos"] and found["grid"] is inputs["grid"]


def test_bf16_is_recorded_with_its_rounding(nano_bf16: Path) -> None:
    bundle = Bundle.open(nano_bf16)
    found = Reference.of(bundle, "thinker_step")
    assert "widened" in found.made_with["backend"]
