"""`omnijet build` names machines in a user's words, and finds the one that it runs on."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.engines.library import Installed, how_to_get, own_lack
from omnijet.engines.listing import MARK
from omnijet.engines.targets.chosen import chosen_target, gigabytes
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.platform import Platform
from omnijet.runtime.machine.root import VARIABLE
from tests.command import Capture, refused
from tests.layering import ROOT
from tests.machines import fake_machine

EXTRAS = ("torch", "onnx", "onnx_ir", "ml_dtypes", "onnxscript", "onnxruntime.nothing")


def test_the_list_needs_no_bundle_and_no_extra() -> None:
    code = (
        f"import sys\nfor name in {EXTRAS!r}: sys.modules[name] = None\n"
        "from omnijet import cli; sys.exit(cli.main(['build', '--list', '--format', 'json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [row["target"] for row in json.loads(done.stdout)] == list(TARGETS)


def test_a_build_without_the_extra_names_it() -> None:
    code = (
        f"import sys\nfor name in {EXTRAS!r}: sys.modules[name] = None\n"
        "from omnijet import cli; sys.exit(cli.main(['build', 'x', '--target', 'cpu']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and 'pip install "omnijet[quantize]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "target", "memory"),
    [
        ("orin-nano-jp62", "orin-nano-jp62", 8), ("thor-jp72", "thor-jp72", 128),
        ("workstation", "rtx-4090", 24), ("rtx-3060", "rtx-ampere", 12), ("pc", "cpu", None),
    ],
)  # fmt: skip
def test_this_machine_is_marked(
    name: str, target: str, memory: float | None, tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, str(fake_machine(tmp_path, name)))
    assert cli.main(["build", "--list", "--format", "json"]) == 0
    rows = {row["target"]: row for row in json.loads(capsys.readouterr().out)}
    assert [name for name, row in rows.items() if row[MARK]] == [target]
    assert rows[target]["memory_gb"] == memory
    assert cli.main(["build", "--list"]) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if MARK in line and "│" in line]
    assert line.split("│")[1].strip() == target
    assert f"--target auto takes {target}" in said


def test_a_machine_without_a_target_is_told_so(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fake_machine(tmp_path, "orin-nx-jp62")
    (root / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 3.0\n")
    monkeypatch.setenv(VARIABLE, str(root))
    assert cli.main(["build", "--list"]) == 0
    assert "it has no target: Orin with JetPack 6.0" in capsys.readouterr().out
    said = refused(capsys, "build", tmp_path, "--target", "auto")
    assert "no target of its own" in said and "JetPack 6.0" in said and "build --list" in said


def test_no_bundle_and_no_target(capsys: Capture, tmp_path: Path) -> None:
    assert "no bundle is given" in refused(capsys, "build", "--target", "auto")
    assert "there is no target 'rtx-9090'" in refused(
        capsys, "build", tmp_path, "--target", "rtx-9090"
    )


@pytest.mark.parametrize(
    ("text", "size"), [("24GB", 24), ("24 gb", 24), ("24", 24), ("16384MiB", 17.18), ("7.5G", 7.5)]
)
def test_sizes_of_memory(text: str, size: float) -> None:
    assert gigabytes(text) == pytest.approx(size, rel=1e-3)


@pytest.mark.parametrize("text", ["", "GB", "-3GB", "24TB", "0.1GB", "9999GB", "1e9", "24GB x"])
def test_what_is_no_size_of_memory(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="expected"):
        gigabytes(text)


def test_another_memory_changes_the_limits(tmp_path: Path) -> None:
    platform = Platform.read(fake_machine(tmp_path, "pc"))
    large = chosen_target("rtx-ada", 24, platform)
    assert large.memory_gb == 24 and large.limits != TARGETS["rtx-ada"].limits
    assert chosen_target("rtx-ada", None, platform) is TARGETS["rtx-ada"]
    with pytest.raises(OmnijetError, match="take every size"):
        chosen_target("auto", 24, platform)


def test_who_builds_for_another_python_is_told_what_runs_it(tmp_path: Path) -> None:
    """No Python but that of JetPack 6 sees its TensorRT: what is built could not be run."""
    platform = Platform.read(fake_machine(tmp_path, "orin-nano-jp62"))
    installed = Installed("tensorrt", "/usr/bin/python3", "10.3.0", (), 87)
    said = own_lack(installed, platform) or ""
    assert "cannot run what is built here" in said and "--system-site-packages" in said
    assert "Python 3.10" in said and "TensorRT 10.3" in said
    assert own_lack(Installed("onnxruntime", "x", "1.32", (), None), platform) is None
    newer = Platform.read(fake_machine(tmp_path, "orin-nano-jp72"))
    assert "3.10" not in (own_lack(installed, newer) or "")


def test_how_to_get_a_library_depends_on_the_machine(tmp_path: Path) -> None:
    def said(name: str, library: str) -> str:
        return how_to_get(library, Platform.read(fake_machine(tmp_path, name)))  # type: ignore[arg-type]

    assert "nvidia-jetpack" in said("orin-nx-jp72", "tensorrt")
    assert "nvidia-jetpack" not in said("workstation", "tensorrt")
    assert 'pip install "omnijet[rtx]"' in said("workstation", "tensorrt_rtx")
    assert "pip install" not in said("orin-nx-jp72", "tensorrt_rtx")
    assert "--provider cuda" in said("dgx-spark", "tensorrt")
