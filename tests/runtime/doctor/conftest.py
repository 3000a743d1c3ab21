"""What spares the disk of whoever runs the tests."""

from __future__ import annotations

import pytest

from omnijet.runtime.doctor import disk


@pytest.fixture(autouse=True)
def a_small_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the doctor write and read a megabyte where there is no bundle."""
    monkeypatch.setattr(disk, "OWN_BYTES", 1 << 20)
