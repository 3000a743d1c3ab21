"""A vocoder of one mel row and one sample a frame, which notes how long its calls are."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from runtime.contract import GraphContract, TensorSpec


class Recorder:
    contract = GraphContract(
        "vocoder",
        inputs=(TensorSpec("mel", "f32", (1, 1, "frames")),),
        outputs=(TensorSpec("wave", "f32", (1, "frames")),),
    )

    def __init__(self) -> None:
        self.frames: list[int] = []

    def bind(self, sizes: Mapping[str, int], state: Any = None) -> Any:
        self.frames.append(sizes["frames"])
        mel = np.zeros((1, 1, sizes["frames"]), np.float32)
        return SimpleNamespace(inputs={"mel": mel}, outputs={"wave": mel[0]}, run=lambda: None)
