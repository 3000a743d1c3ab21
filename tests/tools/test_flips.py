"""Changes bytes of a small bundle: each is refused, by its hash and mostly by its values."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from omnijet.runtime.bundle.manifest import FILE_NAME
from tests.runtime.bundle.test_folder import toy
from tools import flips


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy(tmp_path / "bundle", speech=False)


def numbers(folder: Path) -> list[int]:
    """Returns the places of all digits of dimensions and of numbers of preprocessing."""
    content = (folder / FILE_NAME).read_bytes()
    sections = [re.search(rb'\n "(dims|preprocessor)": \{.*?\n \}', content[at:], re.S)
                for at in (0, content.index(b'"preprocessor"') - 3)]  # fmt: skip
    places = []
    for start, section in zip((0, content.index(b'"preprocessor"') - 3), sections, strict=True):
        assert section is not None
        places += [start + section.start() + m.start() for m in re.finditer(rb"\d", section[0])]
    return places


def test_a_changed_byte_of_a_manifest_is_refused(folder: Path) -> None:
    size = (folder / FILE_NAME).stat().st_size
    digits = numbers(folder)
    assert len(digits) > 200
    found = flips.flip_manifest(folder, [*range(0, size, 61), *range(160), *digits])
    assert found.shown == [] and set(found.count) == {"refused"}


def test_a_stranger_who_makes_the_hash_right_gets_no_traceback(folder: Path) -> None:
    size = (folder / FILE_NAME).stat().st_size
    found = flips.flip_manifest(folder, range(7, size, 211), rehash=True)
    assert found.shown == [] and found.count["refused"] > found.count["another bundle"]


def test_changed_files_are_found(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    found = flips.flip_files(folder, flips.twin(folder, twin), 3, Random(0))
    assert found.shown == [] and set(found.count) == {"refused"}


def test_what_must_not_be_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "omnijet.runtime.bundle.manifest_text._hash", lambda content: "0" * 64, raising=True
    )
    (folder / FILE_NAME).write_bytes(flips.rehashed((folder / FILE_NAME).read_bytes()))
    assert flips.main([str(folder), "--step", "173", "--files", "2"]) == 1
    assert "another bundle: byte" in capsys.readouterr().err
