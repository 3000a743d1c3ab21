"""The built-in set for published checkpoints: what it holds, whom it fits, how it is made."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnijet.quantization.calibration.conversations import (
    BUILT_IN,
    GENERAL,
    LINES,
    fitting_set,
    open_conversations,
)
from omnijet.runtime.media.audio import load_audio
from tests.quantization.calibration.test_conversations import parts
from tools.calibration_set.__main__ import write_set


def test_it_covers_languages_and_media() -> None:
    assert GENERAL.stat().st_size < 300_000
    with open_conversations(GENERAL) as found:
        kinds = Counter(part["type"] for item in found.items for part in parts(item.messages))
        assert kinds["audio"] >= 4 and kinds["image"] >= 4 and kinds["video"] >= 2
        first = [{part["type"] for part in parts(item.messages)} for item in found.items[:4]]
        assert [sorted(one - {"text"}) for one in first] == [["audio"], ["image"], ["video"], []]
        texts = "".join(
            part["text"] for item in found.items for part in parts(item.messages)
            if part["type"] == "text"
        )  # fmt: skip
        for letters in ("aä", "éÉ", "¿á", "月", "の", "супа", "الطقس", "पानी", "def ", "| tree |"):
            assert all(letter in texts for letter in letters), letters
        for item in found.items:
            assert item.messages[0]["role"] == "system" and item.messages[-1]["role"] == "user"


def test_it_is_made_again_by_the_committed_program(tmp_path: Path) -> None:
    write_set(tmp_path / "again.zip")
    with zipfile.ZipFile(GENERAL) as old, zipfile.ZipFile(tmp_path / "again.zip") as new:
        assert old.namelist() == new.namelist()
        assert old.read(LINES) == new.read(LINES)
        for name in old.namelist():
            for archive, folder in ((old, "old"), (new, "new")):
                archive.extract(name, tmp_path / folder)
            was, now = tmp_path / "old" / name, tmp_path / "new" / name
            if name.endswith(".png"):
                assert np.array_equal(np.asarray(Image.open(was)), np.asarray(Image.open(now)))
            elif name.endswith(".ogg"):
                assert np.abs(load_audio(was) - load_audio(now)).max() < 0.05


@pytest.mark.parametrize(
    ("vocabulary", "name"), [(1024, "nano"), (8448, "nano"), (151_936, "general")]
)
def test_the_vocabulary_decides(vocabulary: int, name: str) -> None:
    assert fitting_set(vocabulary) == name and BUILT_IN[name].is_file()
