"""The documents of the kit: what people type is understood, and what is named is there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.jetson.fakes import fake_jetson
from tests.jetson.test_setup import STEPS
from tests.layering import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGES = (ROOT / "docs/jetson.md", ROOT / "docs/workstation.md", ROOT / "jetson/README.md")
TYPED = {
    "omnijet", "./setup.sh", "./uninstall.sh", "pip", "cd", "rsync", "aplay", "arecord",
    "systemctl", "journalctl", "docker", "python3", ".", "mkdir", "cp", "tee",
    "/opt/omnijet/venv/bin/pip",
}  # fmt: skip
"""Programs that these pages have people type."""


def lines(page: Path) -> list[str]:
    found = re.findall(r"^```\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in found for line in block.splitlines() if line]


def words(line: str) -> list[str]:
    """Returns a command without sudo and without variables before it."""
    typed = shlex.split(line, comments=True)
    while typed and (typed[0] == "sudo" or re.match(r"^[A-Z_]+=", typed[0])):
        typed.pop(0)
    return typed


WHEEL = "omnijet-0.1.0-py3-none-any.whl"


def scripted(script: str) -> list[str]:
    found = {line for page in PAGES for line in lines(page) if words(line)[:1] == [script]}
    assert found
    return sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_are_known(page: Path) -> None:
    for line in lines(page):
        for part in line.split(" | "):
            assert words(part)[0] in TYPED, part


@pytest.mark.parametrize("line", scripted("./setup.sh"))
def test_a_line_of_setup_is_understood(line: str, tmp_path: Path) -> None:
    jetson = fake_jetson(tmp_path)
    before = jetson.tree()
    home = tmp_path / "home/you/my-orin"
    home.mkdir(parents=True)
    (home / "manifest.json").touch()
    (home / WHEEL).touch()
    typed = [word.replace("/home/you", str(tmp_path / "home/you")) for word in words(line)[1:]]
    typed = [word.replace(WHEEL, str(home / WHEEL)) for word in typed]
    done = jetson.run("setup.sh", *typed, "--dry-run")
    assert done.returncode == 0, done.stderr
    left_out = re.findall(r"^(\w+): left out", done.stdout, re.M)
    assert left_out == (["service"] if len(typed) < 2 else [])  # it needs the name of a bundle
    assert "would run" in done.stdout and jetson.tree() == before


@pytest.mark.parametrize("line", scripted("./uninstall.sh"))
def test_a_line_of_uninstall_is_understood(line: str, tmp_path: Path) -> None:
    done = fake_jetson(tmp_path).run("uninstall.sh", *words(line)[1:], "--dry-run")
    assert done.returncode == 0 and "nothing to undo" in done.stdout, done.stderr


def test_the_table_of_steps_is_whole() -> None:
    text = (ROOT / "jetson/README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == list(STEPS)


def test_extras_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    texts += [path.read_text() for path in (ROOT / "jetson").rglob("*.sh")]
    texts += [path.read_text() for path in (ROOT / "jetson/container").iterdir()]
    named = {name for text in texts for found in re.findall(r"omnijet\[([\w,]+)\]", text)
             for name in found.split(",")}  # fmt: skip
    of_setup = re.search(r"^EXTRAS=(\S+)", (ROOT / "jetson/steps/environment.sh").read_text(), re.M)
    assert of_setup is not None
    assert named | set(of_setup[1].split(",")) <= set(project["optional-dependencies"])
    assert len(named) > 4


def test_a_service_by_hand_puts_files_where_the_unit_looks() -> None:
    unit = (ROOT / "jetson/service/omnijet.service").read_text()
    typed = "\n".join(lines(ROOT / "docs/workstation.md"))
    for place in ("/opt/omnijet/venv", "/etc/omnijet/serve.toml"):
        assert place in unit and place in typed
    for source in re.findall(r"cp (jetson/\S+)", typed):
        assert (ROOT / source).exists()
