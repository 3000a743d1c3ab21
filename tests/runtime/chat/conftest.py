"""An assistant of Omnijet-nano that the tests of chats share, and who judges what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni


@pytest.fixture(scope="session")
def spoken(trained: tuple[Path, Path]) -> Iterator[Omni]:
    """Opens the trained bundle on one thread."""
    with Omni.open(trained[1], backend=OrtBackend(threads=1)) as opened:
        yield opened


@pytest.fixture
def assistant(spoken: Omni) -> Iterator[Assistant]:
    """Yields an assistant of the trained bundle."""
    with Assistant(spoken) as made:
        yield made


@pytest.fixture(scope="session")
def says() -> Callable[[Path, str], bool]:
    """Returns what judges whether a WAV file says some words.

    One word may be another: the recogniser takes the "four" of nano's voice for "five".
    """
    pytest.importorskip("pocketsphinx")
    recogniser = Recogniser()

    def judge(path: Path, expected: str) -> bool:
        samples, rate = soundfile.read(path, dtype="float32")
        heard, wanted = recogniser.words(samples, rate), expected.split()
        wrong = sum(one != other for one, other in zip(heard, wanted, strict=False))
        return len(heard) == len(wanted) and wrong <= 1

    return judge


@pytest.fixture(autouse=True)
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws the speech of every reply alike, so that the recogniser always hears the same."""
    drawn = partial(np.random.SeedSequence, 5)
    monkeypatch.setattr("omnijet.runtime.talk.options.np.random.SeedSequence", drawn)
