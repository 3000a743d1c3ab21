"""A device that is reached by a fake ssh."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployment.deploy.remote.devices import FakeDevice, fake_device


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    return fake_device(tmp_path, monkeypatch)
