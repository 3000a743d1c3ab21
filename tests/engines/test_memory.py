"""Memory is predicted from a graph's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engines.memory import available_bytes, predicted_bytes, require_memory
from engines.targets import TARGETS
from runtime.errors import OmnijetError
from runtime.manifest import Manifest


def test_more_weights_take_more(nano_f16: Path) -> None:
    entry = Manifest.read(nano_f16).graphs["thinker_step"]
    large = replace(entry, weight_bytes=6_200_000_000, parameters=3_090_000_000)
    for library in ("tensorrt", "tensorrt_rtx"):
        assert 0.1e9 < predicted_bytes(entry, library) < 1e9
    # 3 to 4 times the weights, as published for builds on a device
    assert 3 * 6.2e9 < predicted_bytes(large, "tensorrt") < 5 * 6.2e9


def test_what_this_machine_lacks_is_refused() -> None:
    require_memory("vocoder", 1, TARGETS["rtx-ada"])
    with pytest.raises(OmnijetError, match="too little memory") as error:
        require_memory("vocoder", 10 * available_bytes(), TARGETS["rtx-ada"])
    assert "swap" in str(error.value.fix)
