"""A silent vocoder that records the lengths of its calls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from omnijet.runtime.backends.protocol import Bound, State
from omnijet.runtime.bundle.contract import Array, GraphContract, TensorSpec


class Recorder:
    """A vocoder of one mel row and one sample a frame that records how long its calls are."""

    contract = GraphContract(
        "vocoder",
        inputs=(TensorSpec("mel", "f32", (1, 1, "frames")),),
        outputs=(TensorSpec("wave", "f32", (1, "frames")),),
    )

    growth: int | None = None
    joins = False

    def __init__(self) -> None:
        self.frames: list[int] = []

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> Bound:
        self.frames.append(sizes["frames"])
        return _Silence(sizes["frames"])

    def new_state(self, capacity: int) -> State:
        raise AssertionError("a vocoder carries nothing")

    def limit(self, symbol: str) -> int | None:
        return None


class _Silence:
    def __init__(self, frames: int) -> None:
        self.inputs: Mapping[str, Array] = {"mel": np.zeros((1, 1, frames), np.float32)}
        self.outputs: Mapping[str, Array] = {"wave": np.zeros((1, frames), np.float32)}

    def run(self) -> None:
        pass
