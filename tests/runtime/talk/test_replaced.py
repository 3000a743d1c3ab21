"""Bundles that are replaced or edited while a model answers from them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import Reply

ASKED = [{"role": "user", "content": "Who are you?"}]
PICTURE = np.zeros((56, 56, 3), np.uint8)
SEEN = [{"role": "user", "content": [{"type": "image", "image": PICTURE}]}]


def ask(omni: Omni, messages: list = ASKED, *, speech: bool = True) -> Reply:
    return omni.generate(messages, speech=speech, seed=1, max_text_tokens=4, max_codes=4)


@pytest.fixture
def folder(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano[1], tmp_path / "bundle"))


@pytest.fixture
def opened(folder: Path) -> Iterator[Omni]:
    with Omni.open(folder, backend=OrtBackend(1)) as omni:
        yield omni


def swap(folder: Path) -> None:
    """Does what `export --force` does: another bundle of the same sizes takes the place."""
    folder.rename(folder.with_name("away"))
    shutil.copytree(folder.with_name("away"), folder)  # times too: only the files are others


def test_nothing_of_another_bundle_is_loaded(opened: Omni, folder: Path) -> None:
    swap(folder)
    for _ in range(2):
        with pytest.raises(OmnijetError, match="replaced while it was in use"):
            ask(opened)
    with Omni.open(folder, backend=OrtBackend(1)) as again:
        assert ask(again).text_ids


@pytest.mark.parametrize("put_back", [True, False])
def test_what_is_loaded_goes_on_and_the_rest_stops(
    opened: Omni, folder: Path, put_back: bool
) -> None:
    first = ask(opened, speech=False)
    if put_back:
        swap(folder)
    else:
        folder.rename(folder.with_name("away"))
    assert ask(opened, speech=False).text_ids == first.text_ids
    for messages, speech in ((ASKED, True), (SEEN, False)):
        with pytest.raises(OmnijetError, match="replaced while it was in use"):
            ask(opened, messages, speech=speech)
    assert ask(opened, speech=False).text_ids == first.text_ids


def test_a_model_that_holds_all_goes_on(opened: Omni, folder: Path) -> None:
    first = ask(opened)
    swap(folder)
    with pytest.raises(OmnijetError, match="replaced"):  # the table of the voice is mapped anew
        ask(opened)
    shutil.rmtree(folder)
    folder.with_name("away").rename(folder)
    assert ask(opened).codes == first.codes


def test_an_edit_in_place_ends_the_next_turn(opened: Omni, folder: Path) -> None:
    ask(opened, speech=False)
    session = opened.session()
    weights = folder / "graphs" / "thinker_step.weights"
    times = weights.stat()
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    turns = (lambda: ask(opened), lambda: session.generate("Hi"), lambda: opened.stream(ASKED))
    for turn in turns:
        with pytest.raises(OmnijetError, match="edited while it was in use") as caught:
            turn()
        assert "graphs/thinker_step.weights" in str(caught.value)


def test_looking_costs_a_turn_little(opened: Omni) -> None:
    ask(opened)
    began = perf_counter()
    for _ in range(20):
        opened.model.require_usable()
    assert (perf_counter() - began) / 20 < 0.01  # 0.1 ms
