from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError

# the values published with the 3B and 7B checkpoints
CONFIG: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text()
)


def test_published_values() -> None:
    preprocessing = Preprocessing.from_preprocessor_config(CONFIG)
    assert (preprocessing.factor, preprocessing.max_samples, preprocessing.n_mels) == (
        28,
        4_800_000,
        128,
    )
    assert (preprocessing.image_min_pixels, preprocessing.image_max_pixels) == (3136, 12845056)
    assert (preprocessing.video_min_pixels, preprocessing.video_max_pixels) == (100352, 602112)


def test_json_round_trip() -> None:
    preprocessing = Preprocessing.from_preprocessor_config(CONFIG)
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


def test_limits_may_stand_in_size() -> None:
    config = {k: v for k, v in CONFIG.items() if k not in ("min_pixels", "max_pixels")}
    config["size"] = {"shortest_edge": 3136, "longest_edge": 401408}
    assert Preprocessing.from_preprocessor_config(config).image_max_pixels == 401408


def test_all_faults_of_a_config_are_listed() -> None:
    changed = {k: v for k, v in CONFIG.items() if k not in ("n_fft", "hop_length")}
    changed |= {
        "padding_side": "centre",
        "do_normalize": False,
        "resample": 2,
        "patch_size": 14.5,
        "merge_size": float("inf"),
        "image_std": [0.2, 0.2],
        "hop_lenght": 160,
    }
    with pytest.raises(OmnijetError) as caught:
        Preprocessing.from_preprocessor_config(changed)
    got = str(caught.value.got)
    for words in ("padding_side", "do_normalize", "resample", "patch_size", "image_std", "n_fft"):
        assert words in got
    assert "hop_lenght: unknown; did you mean hop_length?" in got


@pytest.mark.parametrize("change", [{"patch": "14"}, {"mean": [1, 2]}, {"extra": 1}, {"hop": 0}])
def test_damaged_manifest(change: dict[str, Any]) -> None:
    data = Preprocessing.from_preprocessor_config(CONFIG).to_json()
    with pytest.raises(OmnijetError, match="damaged"):
        Preprocessing.from_json(data | change)
    del data["n_fft"]
    with pytest.raises(OmnijetError, match="n_fft: missing"):
        Preprocessing.from_json(data)
