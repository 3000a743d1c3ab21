"""Python 3.10 with its newest ONNX Runtime builds decomposed graphs and answers as this one does.

It is the environment of JetPack 6. The tests make one of the wheel and of packages from the index;
they are skipped where no Python 3.10 or no package can be had. They take minutes, so
`make check-older` runs them, and the suite does not.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.lowering.fused.test_decomposed_cpu import lowered
from tests.environment import call, environment_of
from tests.quantization.graphs import error, feeds, run
from tools.check_arm64 import answers as program
from tools.check_arm64.questions import MEDIA, QUESTIONS, compared

pytestmark = pytest.mark.skipif(
    "OMNIJET_OLDER" not in os.environ, reason="minutes of installing and asking: make check-older"
)
RELEASE = "1.23.2"
OTHERS = "~/.pyenv/versions/3.10.*/bin/python3.10"
"""Where pyenv puts interpreters that may not be on the path."""
ASKED = [one for one in QUESTIONS if one.name in ("spoken", "pictured", "streamed")]
ROOM = """
import importlib, pathlib, sys
import omnijet
root = pathlib.Path(omnijet.__file__).parent
for path in sorted((root / "runtime").rglob("*.py")):
    name = ".".join(("omnijet", *path.relative_to(root).with_suffix("").parts))
    if name not in sys.argv[1:]:
        importlib.import_module(name.removesuffix(".__init__"))
print(len(sys.modules))
"""
PROGRAMS_AND_EXTRAS = ("omnijet.runtime.child.main", "omnijet.runtime.serve.replicas.router")
"""Modules that are not imported: what starts a child, and what needs ray."""


def python310() -> str:
    """Returns a Python 3.10 of this machine. Skips the test if there is none."""
    on_path = shutil.which("python3.10")
    for named in [*([on_path] if on_path else []), *glob.glob(os.path.expanduser(OTHERS))]:
        if "3.10" in call(named, "--version", cwd=Path("/")).stdout:
            return named
    pytest.skip("there is no Python 3.10 on this machine")


@pytest.fixture(scope="module")
def older(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the interpreter of an environment like that of JetPack 6."""
    folder = tmp_path_factory.mktemp("older") / "venv"
    wanted = f"{wheel}[chat,quantize,serve]", f"onnxruntime=={RELEASE}"
    try:
        return environment_of(python310(), folder, *wanted)
    except ConnectionError as error:
        pytest.skip(f"the packages for Python 3.10 cannot be had: {error}")


@pytest.fixture(scope="module")
def built(
    older: Path, trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Returns a bundle for which the older environment built its graphs."""
    bundle = Path(shutil.copytree(trained[1], tmp_path_factory.mktemp("built") / "bundle"))
    omnijet = older.parent / "omnijet"
    done = call(omnijet, "run", bundle, "--text", "Hello!", cwd=bundle.parent)
    assert done.returncode == 2 and f"omnijet build {bundle} --target cpu" in done.stderr
    done = call(omnijet, "build", bundle, "--target", "cpu", cwd=bundle.parent)
    assert done.returncode == 0, done.stderr
    assert "target cpu-jp62" in done.stderr and f"omnijet run {bundle}" in done.stdout
    return bundle


def ask(python: str | Path, bundle: Path) -> Mapping[str, Any]:
    """Returns the answers of an interpreter's omnijet."""
    job = {"bundle": str(bundle), "questions": [one.job(str(MEDIA)) for one in ASKED]}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), str(Path(str(program.__file__)))], input=json.dumps(job), text=True,
        capture_output=True, cwd=bundle.parent, env=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said: Mapping[str, Any] = json.loads(done.stdout)
    return said


def test_it_answers_as_the_newest_does(
    older: Path, built: Path, trained: tuple[Path, Path]
) -> None:
    ours, theirs = ask(older, built), ask(sys.executable, trained[1])
    assert ours["made by"]["python"].startswith("3.10.")
    assert ours["made by"]["onnxruntime"] == RELEASE != theirs["made by"]["onnxruntime"]
    assert ours["made by"]["backend"] == "onnxruntime-cpu, built graphs"
    verdicts = compared(ours["answers"], theirs["answers"])
    assert [one.fault for one in verdicts] == [None] * len(ASKED), verdicts
    assert all(one.codes > 10 for one in verdicts)


def test_graphs_of_a_pc_are_taken(older: Path, trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Built by the newest ONNX Runtime, loaded by the old one, without a word on stderr."""
    from omnijet import cli

    bundle = Path(shutil.copytree(trained[1], tmp_path / "bundle"))
    assert cli.main(["build", str(bundle), "--target", "cpu-jp62"]) == 0
    omnijet = older.parent / "omnijet"
    done = call(omnijet, "check", bundle, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["graphs"].values()) == {"ok"}
    done = call(
        omnijet, "run", bundle, "--audio", MEDIA / "question.wav", "--no-speech", "--seed", "0",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0 and "four seven one" in done.stdout, done.stderr
    assert "not used" not in done.stderr and "too old" not in done.stderr
    again = call(omnijet, "build", bundle, "--target", "cpu", "--format", "json", cwd=tmp_path)
    assert {one["state"] for one in json.loads(again.stdout).values()} == {"present"}


def test_the_whole_runtime_is_imported(older: Path, tmp_path: Path) -> None:
    path = tmp_path / "every_module.py"
    path.write_text(ROOM)
    done = call(older, path, *PROGRAMS_AND_EXTRAS, cwd=tmp_path)
    assert done.returncode == 0 and int(done.stdout) > 300, done.stderr[-2000:]


RUN = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from omnijet.runtime.backends.ort_cpu import unsaturated
path = Path(sys.argv[1])
options = onnxruntime.SessionOptions()
for key, value in unsaturated(path.read_bytes()).items():
    options.add_session_config_entry(key, value)
session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
found = session.run(None, dict(np.load(path.with_suffix(".npz"))))
np.savez(path.with_name("found.npz"), *found)
"""


@pytest.mark.parametrize(
    ("graph", "kind", "limit"),
    [
        ("audio_encoder", "w8a8", 0.03), ("dit_step", "w8a8", 0.03), ("thinker_step", "int4", 1e-4),
        ("talker_step", "int8", 1e-4),
    ],
)  # fmt: skip
def test_products_of_integers(
    older: Path, trained: tuple[Path, Path], tmp_path: Path, graph: str, kind: str, limit: float
) -> None:
    """The operators for integers that recipes ask for are there, and right on this processor."""
    contract, source, target, _ = lowered(trained[1], graph, tmp_path, kind)
    inputs = feeds(contract)
    np.savez(target.with_suffix(".npz"), **inputs)
    script = tmp_path / "run.py"
    script.write_text(RUN)
    done = call(older, script, target, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = list(np.load(target.with_name("found.npz")).values())
    assert error(found, run(source, inputs, optimize=False)) < limit
