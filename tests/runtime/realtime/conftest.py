"""An assistant of Omnijet-nano that the tests of conversations share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import TurnRecord
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni


@pytest.fixture(scope="session")
def spoken(trained: tuple[Path, Path]) -> Iterator[Omni]:
    """Opens the trained bundle on one thread."""
    with Omni.open(trained[1], backend=OrtBackend(threads=1)) as opened:
        yield opened


@pytest.fixture
def records() -> list[TurnRecord]:
    """What the assistant notes of its turns."""
    return []


@pytest.fixture
def assistant(spoken: Omni, records: list[TurnRecord]) -> Iterator[Assistant]:
    """An assistant of the trained bundle that keeps what was fed and written."""
    with Assistant(spoken, observe=records.append, keeps_content=True) as made:
        yield made
