"""`make quick` runs a test of every room; `make test` leaves out tests that exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.layering import ROOMS, ROOT, imports, modules, room_of

QUICK = (ROOT / "tests" / "quick.txt").read_text(encoding="utf-8").split()
LONG = [
    line.removeprefix("--deselect=").partition("[")[0]
    for line in (ROOT / "tests" / "long.txt").read_text(encoding="utf-8").splitlines()
]


def files(line: str) -> list[Path]:
    """Returns the test files of one line: of a folder, of a file, or of one test in a file."""
    path = ROOT / line.split("::")[0]
    return sorted(path.rglob("test_*.py")) if path.is_dir() else [path]


@pytest.mark.parametrize("line", [*QUICK, *dict.fromkeys(LONG)])
def test_a_line_names_tests(line: str) -> None:
    assert all(path.exists() for path in files(line)) and files(line)
    _, _, name = line.partition("::")
    if name:
        tree = ast.parse(files(line)[0].read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_room_has_a_quick_test() -> None:
    """A room counts if a quick test or a fixture imports it or a module that imports it."""
    known = modules()
    paths = {path for line in QUICK for path in files(line)} | {ROOT / "tests" / "conftest.py"}
    tested = {found.name for path in paths for found in imports(path, known)} & set(known)
    one_step = {found.name for name in tested for found in imports(known[name], known)}
    reached = {room for name in tested | one_step if (room := room_of(name)) is not None}
    assert not set(ROOMS) - {room.name for room in reached}
