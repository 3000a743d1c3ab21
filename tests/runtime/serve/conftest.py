"""A served assistant of Omnijet-nano that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
    """An assistant of the trained bundle."""
    with Assistant(spoken) as made:
        yield made
