"""Virtual environments, and programs that run in them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, whatever its exit code, and captures what it prints.

    A PYTHONPATH of the tests would put the checkout before what the environment has installed.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept, capture_output=True, text=True
    )


def environment(folder: Path, *packages: str | Path) -> Path:
    """Makes a virtual environment with the packages and returns its interpreter.

    The pip of the tests' environment installs them, because a pip for each takes longer.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    done = _install(python, packages)
    assert done.returncode == 0, done.stderr[-2000:]
    return python


def environment_of(base: str, folder: Path, *packages: str | Path) -> Path:
    """Makes a virtual environment of another interpreter.

    Raises:
        ConnectionError: the packages cannot be had here.
    """
    made = call(base, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    assert made.returncode == 0, made.stderr[-2000:]
    python = folder / "bin" / "python"
    done = _install(python, packages)
    if done.returncode != 0:
        raise ConnectionError(done.stderr.strip().splitlines()[-1])
    return python


def _install(python: Path, packages: tuple[str | Path, ...]) -> subprocess.CompletedProcess[str]:
    return call(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile",
        "--disable-pip-version-check", *packages, cwd=python.parent,
    )  # fmt: skip
