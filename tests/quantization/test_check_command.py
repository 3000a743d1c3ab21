"""`omnijet check` without `--fidelity` needs only the base install."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from omnijet import cli
from omnijet.runtime.bundle.manifest import Manifest, hash_file
from tests.command import Capture

ROOT = Path(__file__).parents[2]
OPTIONAL = ("torch", "onnx", "onnx_ir", "ml_dtypes", "onnxscript", "pocketsphinx", "transformers")


def loaded_without_extras(statement: str) -> set[str]:
    """Returns the modules that a statement loads in a process with the base install alone."""
    code = (
        f"import sys, json\nfor name in {OPTIONAL!r}: sys.modules[name] = None\n"
        f"{statement}\nprint(json.dumps([n for n, m in sys.modules.items() if m is not None]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_plain_check_loads_nothing_of_the_fidelity_check(nano: tuple[Path, Path]) -> None:
    command = ["check", str(nano[1]), "--format", "json"]
    loaded = loaded_without_extras(f"from omnijet import cli; assert cli.main({command!r}) == 0")
    assert "omnijet.runtime.commands.check" in loaded
    others = ("omnijet.quantization", "omnijet.nano", "omnijet.engines")
    ours = {name for name in loaded if name.startswith(others)}
    assert ours == {"omnijet.quantization", "omnijet.quantization.check_command"}
    assert "omnijet.runtime.omni" not in loaded


def test_the_fidelity_check_needs_the_base_install_alone() -> None:
    loaded = loaded_without_extras(
        "import omnijet.quantization.fidelity.report, omnijet.quantization.fidelity.scores, "
        "omnijet.quantization.fidelity.float_bundle"
    )
    assert "omnijet.runtime.omni" in loaded


def test_plain_check_prints_what_the_runtime_prints(
    nano: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["check", str(nano[1])]) == 0
    ours = capsys.readouterr().out
    alone = cli.Verb("omnijet.runtime.commands.check", "")
    monkeypatch.setitem(cli.VERBS, "check", alone)
    assert cli.main(["check", str(nano[1])]) == 0
    assert capsys.readouterr().out == ours and "PASSED" in ours


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: Capture) -> None:
    for options in ([], ["--fidelity"]):
        assert cli.main(["check", str(tmp_path), *options]) == 2
        assert "not an omnijet bundle" in capsys.readouterr().err


@pytest.fixture
def diverged(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    """Returns a bundle with right hashes, in which a table and a weight are not finite."""
    bundle = tmp_path / "bundle"
    shutil.copytree(nano[1], bundle)
    table = np.load(bundle / "tables" / "thinker_embedding.npy", mmap_mode="r+")
    table[5, 3] = np.nan
    table.flush()
    model = ir.load(bundle / "graphs" / "thinker_step.onnx")
    weight = next(
        value.const_value
        for value in model.graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    )
    assert weight is not None and weight.offset is not None
    with open(weight.path, "r+b") as file:
        file.seek(weight.offset + 4 * 9)
        file.write(np.float32(-np.inf).tobytes())
    manifest = Manifest.read(bundle)
    files = {name: hash_file(bundle / name) for name in manifest.files}
    dataclasses.replace(manifest, files=files).write(bundle)
    return bundle


def test_tables_are_read_and_weights_with_deep(diverged: Path, capsys: Capture) -> None:
    assert cli.main(["check", str(diverged)]) == 2
    plain = capsys.readouterr().out
    assert "FAILED tables/thinker_embedding.npy: NaN or infinite at [5, 3], 1 of" in plain
    assert "thinker_step.weights" not in plain and "30 of 30 files as in the manifest" in plain
    assert cli.main(["check", str(diverged), "--deep"]) == 2
    deep = capsys.readouterr().out
    assert "FAILED tables/thinker_embedding.npy: NaN or infinite at [5, 3], 1 of" in deep
    assert re.search(
        r"FAILED graphs/thinker_step.weights: \S+: NaN or infinite at \[0, 9\], 1 of \d+ ", deep
    )


def test_a_bundle_of_numbers_passes_deep(nano: tuple[Path, Path], capsys: Capture) -> None:
    assert cli.main(["check", str(nano[1]), "--deep"]) == 0
    assert "PASSED" in capsys.readouterr().out


def test_deep_leaves_damaged_files_alone(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(nano[1], bundle)
    path = bundle / "graphs" / "vocoder.onnx"
    path.write_bytes(bytes(path.stat().st_size))
    assert cli.main(["check", str(bundle), "--deep"]) == 2
    assert "weights: not read, because files are damaged" in capsys.readouterr().out


def test_deep_says_what_it_needs(
    nano: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "omnijet.export.graphfile.odd_weights", raising=False)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    assert cli.main(["check", str(nano[1]), "--deep"]) == 2
    assert 'pip install "omnijet[quantize]"' in capsys.readouterr().err
    assert cli.main(["check", str(nano[1]), "--deep", "--fidelity"]) == 2
