"""`omnijet quantize --list` needs nothing, and speaks of machines as their owners do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.command import FAMILIES, families
from omnijet.quantization.recipes import RECIPES, recommended
from omnijet.runtime.machine.root import VARIABLE
from tests.command import Capture, refused
from tests.layering import ROOT
from tests.machines import fake_machine

EXTRAS = ("torch", "onnx", "onnx_ir", "ml_dtypes", "onnxscript")


def run_without_extras(*command: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys\nfor name in {EXTRAS!r}: sys.modules[name] = None\n"
        f"from omnijet import cli; sys.exit(cli.main({list(command)!r}))"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_the_list_needs_no_bundle_and_no_extra() -> None:
    done = run_without_extras("quantize", "--list")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in RECIPES)
    done = run_without_extras("quantize", "a", "b", "--recipe", "orin")
    assert done.returncode == 2 and 'pip install "omnijet[quantize]"' in done.stderr


def test_every_target_is_of_one_family() -> None:
    for target in TARGETS.values():
        assert sum(is_of(target) for is_of in FAMILIES.values()) == 1, target.name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_family_agrees_on_every_recipe(recipe: object) -> None:
    """What a row says of a family holds for all of its machines, and what it omits for none."""
    for is_of in FAMILIES.values():
        of = [target for target in TARGETS.values() if is_of(target)]
        assert len({recipe.runs_on(target) for target in of}) == 1  # type: ignore[attr-defined]
        assert len({recommended(target) is recipe for target in of}) == 1


def test_families_are_named() -> None:
    assert families(lambda target: True) == "all"
    assert families(lambda target: target.compute_capability == 87) == "Jetson Orin"
    assert families(lambda target: target.name == "t4") == ""


def test_this_machine_sees_its_recipe(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(fake_machine(tmp_path, "orin-nano-jp62")))
    assert cli.main(["quantize", "--list"]) == 0
    rows = [line.split("│")[1:] for line in capsys.readouterr().out.splitlines() if "│" in line]
    own = {row[0].strip() for row in rows if row[4].strip() == "takes it by itself"}
    assert own == {recommended(TARGETS["orin-nano-jp62"]).name}


def test_no_bundle_and_no_such_target(capsys: Capture) -> None:
    assert "no bundle is given" in refused(capsys, "quantize", "--recipe", "orin")
    said = refused(capsys, "quantize", "/var/empty", "/var/none", "--target", "orinn")
    assert "Traceback" not in said
