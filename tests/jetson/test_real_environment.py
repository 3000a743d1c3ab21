"""The step `environment` with the Python of this machine, its venv and its pip."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.jetson.fakes import Jetson, fake_jetson

EXTRAS = ("gpu", "quantize", "serve", "chat")
FILES = {
    "omnijet.py": "def main():\n    print('hello')\n",
    "omnijet-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: omnijet\nVersion: 9.9\n"
    + "".join(f"Provides-Extra: {extra}\n" for extra in EXTRAS),
    "omnijet-9.9.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "omnijet-9.9.dist-info/entry_points.txt": "[console_scripts]\nomnijet = omnijet:main\n",
    "omnijet-9.9.dist-info/RECORD": "",
}
"""A wheel with our name and extras that needs nothing."""


@pytest.fixture
def jetson(tmp_path: Path) -> Jetson:
    made = fake_jetson(tmp_path, "thor-jp72")  # that of JetPack 6 asks for cuda-python, too
    python = made.root / "usr/bin/python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    return made


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "omnijet-9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return path


def test_a_wheel_is_installed_beside_the_packages_of_the_system(
    jetson: Jetson, wheel: Path
) -> None:
    before = jetson.tree()
    words = ("--only", "environment", "--yes", "environment", "--omnijet", str(wheel))
    done = jetson.run("setup.sh", *words, PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr  # pip says so of an extra that is not there
    venv = jetson.root / "opt/omnijet/venv"
    facts = (venv / "pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in facts
    said = subprocess.run([venv / "bin/omnijet"], capture_output=True, text=True, env=environment())
    assert said.stdout == "hello\n", said.stderr
    link = jetson.root / "usr/local/bin/omnijet"
    assert os.readlink(link) == "/opt/omnijet/venv/bin/omnijet"
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    assert jetson.tree() == before


def test_what_pip_cannot_install_is_told(jetson: Jetson, tmp_path: Path) -> None:
    before = jetson.tree()
    words = ("--only", "environment", "--yes", "environment", "--omnijet", "omnijet==9.8")
    done = jetson.run("setup.sh", *words, PIP_NO_INDEX="1")
    assert done.returncode == 1 and "pip could not install" in done.stderr
    assert "uninstall.sh environment" in done.stderr
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    assert jetson.tree() == before


def environment() -> dict[str, str]:
    """Returns this environment without what would show the checkout to another Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
