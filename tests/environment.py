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
    done = call(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile",
        "--disable-pip-version-check", *packages, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return python
