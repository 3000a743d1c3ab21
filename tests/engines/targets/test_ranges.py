"""Limits outside their ranges are refused by name, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet.engines.targets.ranges import limits_with, ranges_of
from omnijet.engines.targets.target import TARGETS
from omnijet.export.checkpoint.config import read_dims
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture, refused

DIMS = read_dims(preset("3b"), None, "3b")
TARGET = TARGETS["orin-nano-jp72"].limits


@pytest.fixture(scope="module")
def preprocessing(nano_f16: Path) -> Preprocessing:
    from omnijet.runtime.bundle.manifest import Manifest

    return Preprocessing.from_json(Manifest.read(nano_f16).preprocessor)


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({"chunks": 3}, 1, 16),
        ({"tokens": 150, "chunks": 3}, 150, 150),
        ({"cells": 64}, 4, 16_384),
        ({"windows": 4, "cells": 64}, 4, 64),
        ({"pictures": 8}, 1, 240),
        ({"pictures": 2, "cells": 64}, 1, 16),
        ({"windows": 20, "cells": 64, "pictures": 4}, 20, 20),
        ({"picture_cells": 64, "cells": 64}, 64, 64),
        ({"rows": 7, "capacity": 100}, 1, 100),
        ({"picked": 5, "rows": 20}, 1, 20),
        ({"capacity": 100}, 1, 32_768),
        ({"branches": 2}, 2, 2),
        ({"blocks": 9}, 9, 2731),
        ({"frames": 272}, 9 * 24 + 2 * 28, 65_536),
    ],
    ids=lambda value: str(value),
)
def test_each_has_a_least_and_a_largest(
    preprocessing: Preprocessing, given: Mapping[str, int], least: int, most: int
) -> None:
    symbol = next(iter(given))
    for size in (given[symbol], least, most):
        assert limits_with(TARGET, {**given, symbol: size}, DIMS, preprocessing)[symbol] == size
    for size in (least - 1, most + 1):
        with pytest.raises(OmnijetError, match=symbol) as error:
            limits_with(TARGET, {**given, symbol: size}, DIMS, preprocessing)
        assert error.value.got == size
        expected, _, why = str(error.value.expected).partition(": ")
        assert expected == (str(least) if least == most else f"{least} to {most}")
        assert len(why) > 20


def test_a_model_without_a_voice_has_no_limits_of_speech(preprocessing: Preprocessing) -> None:
    dims = replace(DIMS, speech=None)
    target = TARGETS["orin-nx-jp62"].limits
    limits = limits_with(target, {}, dims, preprocessing)
    spoken = {"branches", "blocks", "frames"}
    assert limits.keys() == target.keys() - spoken
    assert ranges_of(limits, dims, preprocessing).keys() == limits.keys()
    with pytest.raises(OmnijetError, match="no limit 'blocks'"):
        limits_with(target, {"blocks": 20}, dims, preprocessing)


def test_an_older_bundle_takes_one_picture(preprocessing: Preprocessing) -> None:
    made = limits_with(TARGET, {}, DIMS, preprocessing, joins_pictures=False)
    assert made == {k: v for k, v in TARGET.items() if k not in ("pictures", "picture_cells")}
    with pytest.raises(OmnijetError, match="no limit 'pictures'"):
        limits_with(TARGET, {"pictures": 4}, DIMS, preprocessing, joins_pictures=False)


@pytest.mark.parametrize("pictures", range(1, 10))
def test_each_picture_has_as_many_windows(preprocessing: Preprocessing, pictures: int) -> None:
    made = limits_with(TARGET, {"pictures": pictures}, DIMS, preprocessing)
    assert made["windows"] % pictures == 0
    side = made["cells"] // pictures  # the most windows: pictures one cell high
    assert made["windows"] >= pictures * -(-side // 4)


def test_what_follows_from_others(preprocessing: Preprocessing) -> None:
    made = limits_with(TARGET, {"chunks": 4, "cells": 100, "capacity": 64}, DIMS, preprocessing)
    assert made["tokens"] == 4 * DIMS.audio.chunk_tokens
    assert made["windows"] == 26 and made["rows"] == 64
    assert limits_with(TARGET, {}, DIMS, preprocessing) == TARGET


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_keeps_them(preprocessing: Preprocessing, target: object) -> None:
    limits = target.limits  # type: ignore[attr-defined]
    assert limits_with(limits, limits, DIMS, preprocessing) == limits


def test_the_command_tells(nano_f16: Path, capsys: Capture) -> None:
    said = refused(capsys, "build", nano_f16, "--target", "rtx-ada", "--limit", "branches=1")
    assert "--limit branches=1" in said and "guidance" in said
