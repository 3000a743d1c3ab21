"""The wheel answers with `omnijet run` in an environment without torch."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile

from tests.environment import call, environment
from tests.neighbour import write_neighbour


@pytest.fixture(scope="module")
def runtime_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the interpreter of an environment with the base install alone."""
    return environment(tmp_path_factory.mktemp("runtime") / "venv", wheel)


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    tops = {name for name in tops if not name.endswith(".dist-info")}
    assert tops == {"omnijet", "optimum"}
    registered = [name for name in names if name.startswith("optimum/")]
    assert registered == ["optimum/commands/register/register_omnijet.py"]
    # data for scores and calibration on a device, no training
    assert {"omnijet/nano/heldout.zip", "omnijet/nano/calibration.zip"} <= set(names)
    assert "omnijet/quantization/calibration/general.zip" in names
    assert "omnijet/py.typed" in names  # users see the types
    page = ("index.html", "style.css", "main.js", "player-worklet.js", "icon.svg")
    assert {f"omnijet/runtime/serve/page/{name}" for name in page} <= set(names)
    left_out = ("omnijet/nano/training", "omnijet/nano/checkpoint")
    assert not [name for name in names if name.startswith(left_out)]


def test_the_base_install_has_no_torch_and_runs(
    runtime_python: Path, nano: tuple[Path, Path], tmp_path: Path
) -> None:
    listed = call(
        sys.executable, "-m", "pip", "--python", runtime_python, "list", "--format=json",
        cwd=tmp_path,
    )  # fmt: skip
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert "omnijet" in names
    assert not names & {"torch", "transformers", "onnx", "onnxscript", "safetensors"}
    wav = tmp_path / "reply.wav"
    omnijet = runtime_python.parent / "omnijet"
    reply = call(
        omnijet, "run", nano[1], "--text", "Hello!", "--greedy", "--seed", "1",
        "--max-text-tokens", "6", "--max-codes", "13", "--out", wav, "--json", cwd=tmp_path,
    )  # fmt: skip
    assert reply.returncode == 0, reply.stderr
    facts = json.loads(reply.stdout)
    assert len(facts["codes"]) == 12 and facts["samples"] == 12 * 480
    assert soundfile.info(wav).frames == facts["samples"]


def test_it_works_beside_files_with_the_names_of_its_folders(
    runtime_python: Path, nano: tuple[Path, Path], tmp_path: Path
) -> None:
    done = call(runtime_python, write_neighbour(tmp_path), nano[1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["spoken"] and Path(printed["home"]).is_relative_to(runtime_python.parent.parent)


def test_what_needs_the_export_extra_says_so(runtime_python: Path, tmp_path: Path) -> None:
    omnijet = runtime_python.parent / "omnijet"
    done = call(omnijet, "export", "a", "b", cwd=tmp_path)
    assert done.returncode == 2
    assert 'pip install "omnijet[export]"' in done.stderr
    assert "Traceback" not in done.stderr
