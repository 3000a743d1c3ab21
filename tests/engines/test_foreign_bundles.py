"""`omnijet build` on bundles as they lie on other people's disks, and on those of strangers.

A double stands in for TensorRT-RTX.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from omnijet import cli
from omnijet.engines.engine_builder import EngineBuilder
from omnijet.runtime.bundle.checked import Record
from omnijet.runtime.bundle.manifest import FILE_NAME, Manifest, hash_file
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture
from tests.engines.fake_library import fake_interpreter
from tests.engines.killed_builds import prepare, trial

GRAPH, DECODER = "audio_encoder", "thinker_step"


def command(bundle: Path, python: Path, graph: str = GRAPH) -> list[str]:
    return ["build", str(bundle), "--target", "rtx-ampere", "--graphs", graph,
            "--python", str(python)]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_in_a_cache_of_the_hub_no_blob_is_written(nano: tuple[Path, Path], tmp_path: Path) -> None:
    blobs, bundle = tmp_path / "models" / "blobs", tmp_path / "models" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    for source in sorted(path for path in nano[1].rglob("*") if path.is_file()):
        place, blob = bundle / source.relative_to(nano[1]), blobs / f"{len(os.listdir(blobs)):064}"
        shutil.copy(source, blob)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(blob, place.parent))
    before = contents(blobs)
    assert cli.main(["check", str(bundle)]) == 0
    for _ in range(2):
        assert cli.main([*command(bundle, fake_interpreter(tmp_path)), "--force"]) == 0
    assert contents(blobs) == before
    assert not (bundle / FILE_NAME).is_symlink() and (bundle / "tokenizer.json").is_symlink()
    assert cli.main(["check", str(bundle)]) == 0


def test_the_other_names_of_hard_links_keep_their_content(
    nano: tuple[Path, Path], tmp_path: Path
) -> None:
    origin = tmp_path / "origin"
    shutil.copytree(nano[1], origin)
    python = fake_interpreter(tmp_path)
    assert cli.main(command(origin, python)) == 0
    before = contents(origin)
    bundle = Path(shutil.copytree(origin, tmp_path / "bundle", copy_function=os.link))
    assert cli.main([*command(bundle, python), "--force", "--limit", "chunks=4"]) == 0
    assert contents(origin) == before
    assert cli.main(["check", str(bundle)]) == cli.main(["check", str(origin)]) == 0


def test_weights_outside_the_bundle_are_not_read(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    """The manifest of such a bundle says that all is well."""
    bundle = Path(shutil.copytree(nano[1], tmp_path / "bundle"))
    path = bundle / "graphs" / f"{DECODER}.onnx"
    shutil.copy(path.with_suffix(".weights"), tmp_path / "secret")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../secret"
    path.write_bytes(model.SerializeToString())
    manifest = Manifest.read(bundle)
    files = {**manifest.files, f"graphs/{path.name}": hash_file(path)}
    replace(manifest, files=files).write(bundle)
    before = contents(tmp_path)
    python = fake_interpreter(tmp_path)
    build = command(bundle, python, DECODER)
    for words in (build, [*build, "--dry-run"],
                  ["quantize", str(bundle), str(tmp_path / "out"), "--recipe", "orin-int4"],
                  ["run", str(bundle), "--text", "hello"]):  # fmt: skip
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert "in '../../secret'" in said and "Traceback" not in said, words
    assert cli.main(["check", str(bundle)]) == 2
    assert "in '../../secret'" in " ".join(capsys.readouterr().out.split())
    python.unlink()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("delay_s", [0.0, 1.5, 2.5])
def test_a_killed_build_harms_nobody(
    nano: tuple[Path, Path], tmp_path: Path, delay_s: float
) -> None:
    scene = prepare(Path(shutil.copytree(nano[1], tmp_path / "bundle")))
    assert trial(scene, delay_s) == []


def test_after_a_kill_the_record_of_a_check_refuses_nothing(
    nano: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a build works there is none; afterwards, whatever its end, there is."""
    bundle = Path(shutil.copytree(nano[1], tmp_path / "bundle"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert cli.main(["check", str(bundle)]) == 0 and Record.read(bundle) is not None
    seen = []

    def stopped(*args: object) -> None:
        seen.append(Record.read(bundle))
        raise OmnijetError("stopped")

    monkeypatch.setattr(EngineBuilder, "build", stopped)
    assert cli.main(command(bundle, fake_interpreter(tmp_path))) == 2
    assert seen == [None] and Record.read(bundle) is not None
