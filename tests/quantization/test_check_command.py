"""`omnijet check` without `--fidelity` needs only the base install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from omnijet import cli
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
