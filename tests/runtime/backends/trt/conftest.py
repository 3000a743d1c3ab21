"""A bundle with engines for the double, and the double in place of the libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.backends.trt.engines import Machine, machine, with_engines


@pytest.fixture(scope="session")
def built(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Omnijet-nano with TensorRT engines for an Orin."""
    return with_engines(trained[1], tmp_path_factory.mktemp("engines") / "bundle")


@pytest.fixture
def orin() -> Iterator[Machine]:
    """A machine on which TensorRT runs these engines; its GPU has memory of its own."""
    with machine() as made:
        yield made
