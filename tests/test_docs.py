"""The documents: their links lead somewhere, their commands parse, their snippets type-check."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import RECIPES
from omnijet.runtime.speech.presets import PRESETS
from tests.strict_types import check_types

ROOT = Path(__file__).parent.parent
USER = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ALL = (
    *USER,
    *(ROOT / name for name in ("BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(ROOT / name / "README.md" for name in ("jetson", "nano/checkpoint", "tests/media")),
)
GIVEN = """
from collections.abc import Iterable
import numpy as np
microphone: Iterable[np.ndarray] = ()
played = 0
def play(pcm: bytes) -> None: ...
"""
"""What the snippets take as given: a microphone and a player."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    for link in links:
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = path if not file else path.parent / file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_contributors_find_what_is_named() -> None:
    """Paths are given from the root; `build/` is what commands write."""
    named = re.findall(r"`([\w-]+(?:/[\w.-]*)+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert len(named) > 40
    assert all(name.startswith("build/") for name in missing), missing


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_commands_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
    typed = re.findall(r"(?:`|^)make ((?:[a-z0-9-]+ ?)+)", text, re.M)
    assert set(" ".join(typed).split()) <= targets
    for module in re.findall(r"python -m ((?:omnijet|tools|tests)[\w.]*)", text):
        assert importlib.util.find_spec(module.rstrip(".").removesuffix(".STAGE")), module


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(cli.VERBS[verb].module).add_arguments(parser)
    return parser


@pytest.mark.parametrize("path", (*USER, ROOT / "jetson" / "README.md"), ids=name_of)
def test_what_users_type_is_understood(path: Path) -> None:
    for block in blocks(path, ""):
        for line in block.splitlines():
            if line.startswith("omnijet "):
                _, verb, *words = shlex.split(line.partition(" | ")[0], comments=True)
                parser_of(verb).parse_args(words)


def test_the_table_of_commands_is_whole() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `omnijet (\w+).*?` \|(.*)\|$", text, re.M)
    assert {verb for verb, _ in rows} == set(cli.VERBS)
    for verb, row in rows:
        named, known = set(re.findall(r"--[a-z-]+", row)), parser_of(verb).format_help()
        assert named <= set(re.findall(r"--[a-z-]+", known)), verb


def test_tables_name_every_target_and_recipe_and_preset() -> None:
    for page, names in (("engines", TARGETS), ("shrink", RECIPES), ("stream", PRESETS)):
        rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / f"{page}.md").read_text("utf-8"), re.M)
        found = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
        assert found == set(names), page


def test_users_import_omnijet_alone(tmp_path: Path) -> None:
    sources = [block for path in USER for block in blocks(path, "python")]
    sources.append((ROOT / "example.py").read_text(encoding="utf-8"))
    assert len(sources) >= 6
    for number, source in enumerate(sources):
        assert not re.search(r"omnijet\.\w+\.|from omnijet|import omnijet\.", source)
        (tmp_path / f"snippet_{number}.py").write_text(GIVEN + source, encoding="utf-8")
    said, code = check_types(sorted(tmp_path.glob("*.py")), tmp_path)
    assert code == 0, said


def test_the_readme_promises_the_length_of_the_example() -> None:
    lines = (ROOT / "example.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert f"in {len(lines)} lines" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs(trained: tuple[Path, Path], tmp_path: Path) -> None:
    spoken = tmp_path / "reply.wav"
    done = subprocess.run(
        [sys.executable, "example.py", trained[1], spoken],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    filmed, drawn, conversed = done.stdout.splitlines()
    assert filmed.startswith("it was green (") and filmed.endswith(",) 24000")
    assert (drawn, conversed) == ("three yellow stars", "yellow")
    with wave.open(str(spoken)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.getnframes() > 24_000 // 2
