"""`optimum-cli export omnijet`, with optimum in an environment of its own."""

from __future__ import annotations

import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OPTIMUM = "optimum==2.1.0"


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel and optimum; what both need is that of the tests' environment."""
    folder = tmp_path_factory.mktemp("optimum")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    built = call(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = folder.glob("omnijet-*.whl")
    packages = ("--no-deps", wheel, OPTIMUM)
    done = call(
        python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = folder / "theirs"
    theirs.mkdir()
    for entry in Path(site.getsitepackages()[0]).iterdir():
        # not our own, which an editable install registers with optimum, too
        if not entry.name.startswith(("optimum", "omnijet", "_omnijet", "_editable")):
            (theirs / entry.name).symlink_to(entry)
    (own,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (own / "theirs.pth").write_text(str(theirs))
    return folder / "venv" / "bin" / "optimum-cli"


def test_it_exports(cli: Path, nano: tuple[Path, Path], tmp_path: Path) -> None:
    done = call(cli, "export", "omnijet", nano[0], tmp_path / "bundle", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "omnijet check" in done.stdout
    graphs = {path.name for path in (tmp_path / "bundle" / "graphs").glob("*.onnx")}
    assert graphs == {path.name for path in (nano[1] / "graphs").glob("*.onnx")}


def test_a_mistake_is_told_without_a_traceback(cli: Path, tmp_path: Path) -> None:
    done = call(cli, "export", "omnijet", tmp_path / "nowhere", tmp_path / "bundle", cwd=tmp_path)
    assert done.returncode == 2
    assert "omnijet: " in done.stderr and "Traceback" not in done.stderr
    helped = call(cli, "export", "omnijet", "--help", cwd=tmp_path)
    assert "--dtype" in helped.stdout
