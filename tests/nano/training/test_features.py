"""Tests that encoded media are cached until their encoder is trained again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from omnijet.nano.training.features import _cached


def test_the_cache_follows_its_encoder(tmp_path: Path) -> None:
    encoder, made = tmp_path / "hearing.pt", []

    def encode() -> dict[str, np.ndarray]:
        made.append(len(made))
        return {"rows": np.array(made)}

    def kept() -> int:
        return len(_cached("heard", tmp_path, "hearing", encode)["rows"])

    encoder.write_bytes(b"")
    os.utime(encoder, (1, 1))
    assert kept() == kept() == 1
    os.utime(encoder, (2**32, 2**32))
    assert kept() == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features_heard.npz", "hearing.pt"]
