"""`optimum-cli export omnijet` works in an environment with optimum."""

from __future__ import annotations

import site
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType

import pytest

from omnijet.export.arguments import add_arguments
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.runtime.bundle.contract import graph_contracts
from tests.environment import call, environment

OPTIMUM = "optimum==2.1.0"


@pytest.fixture(scope="module")
def cli(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the `optimum-cli` of an environment with our wheel and optimum.

    Their dependencies come from the tests' environment.
    """
    folder = tmp_path_factory.mktemp("optimum")
    environment(folder / "venv", "--no-deps", wheel, OPTIMUM)
    theirs = folder / "theirs"
    theirs.mkdir()
    for entry in Path(site.getsitepackages()[0]).iterdir():
        # not our own, which an editable install registers with optimum, too
        if not entry.name.startswith(("optimum", "omnijet", "_omnijet", "_editable")):
            (theirs / entry.name).symlink_to(entry)
    (own,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (own / "theirs.pth").write_text(str(theirs))
    return folder / "venv" / "bin" / "optimum-cli"


def test_it_exports(cli: Path, shallow: Path, tmp_path: Path) -> None:
    done = call(cli, "export", "omnijet", shallow, tmp_path / "bundle", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "omnijet check" in done.stdout
    graphs = {path.name for path in (tmp_path / "bundle" / "graphs").glob("*.onnx")}
    assert graphs == {
        f"{name}.onnx" for name in graph_contracts(Checkpoint.open(shallow).dims, "f32")
    }


def test_a_mistake_is_told_without_a_traceback(cli: Path, tmp_path: Path) -> None:
    done = call(cli, "export", "omnijet", tmp_path / "nowhere", tmp_path / "bundle", cwd=tmp_path)
    assert done.returncode == 2
    assert "omnijet: " in done.stderr and "Traceback" not in done.stderr
    helped = call(cli, "export", "omnijet", "--help", cwd=tmp_path)
    assert "--dtype" in helped.stdout


def test_its_options_are_those_of_omnijet_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test needs no optimum: three stand-ins replace the names that the command imports."""
    base, export = ModuleType("optimum.commands.base"), ModuleType("optimum.commands.export.base")
    base.BaseOptimumCLICommand, base.CommandInfo = object, dict
    export.ExportCommand = object
    for module in (base, export):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    import optimum_register

    del sys.modules["optimum_register"]  # it holds the stand-ins of this test
    ((command, parent),) = optimum_register.REGISTER_COMMANDS
    assert parent is export.ExportCommand and command.COMMAND["name"] == "omnijet"
    ours, theirs = ArgumentParser("x"), ArgumentParser("x")
    command.parse_args(theirs)
    add_arguments(ours)
    assert theirs.format_help() == ours.format_help() and "--dtype" in ours.format_help()
