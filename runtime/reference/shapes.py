"""The shapes that recorded inputs must have: the file may come from a stranger."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError

MOST = 1024  # rows, frames or patches

Shape = tuple[int | str, ...]
"""Sizes; a name is one size, from 1 to `MOST`, wherever it stands."""


def input_shapes(graph: str, dims: ModelDims) -> dict[str, Shape]:
    """Returns the shape of each recorded input of a graph."""
    match graph:
        case "audio_encoder":
            return {"mel": (dims.audio.n_mels, "frames")}
        case "vision_encoder":
            return {"patches": ("patches", dims.vision.patch_width), "grid": (2,)}
        case "thinker_step" | "talker_step":
            decoder = dims.thinker if graph == "thinker_step" else dims.talker
            half = decoder.head_dim // 2
            rows = {"embeds": decoder.embed_width, "cos": half, "sin": half}
            return {name: ("rows", width) for name, width in rows.items()}
        case "dit_step":
            dit = dims.dit
            half = dit.head_dim // 2
            return {
                "x": ("frames", dit.mel),
                "static": (2, "frames", dit.hidden),
                "modulation": (dit.layers, 6, dit.hidden),
                "modulation_out": (2, dit.hidden),
                "cos": ("frames", half),
                "sin": ("frames", half),
            }
    return {"mel": (dims.vocoder.mel, "frames")}


def require_shapes(graph: str, dims: ModelDims, inputs: Mapping[str, Array]) -> None:
    """Raises `OmnijetError` if recorded inputs are not those of this graph and model."""
    wanted = input_shapes(graph, dims)
    sizes: dict[str, int] = {}
    fits = inputs.keys() == wanted.keys() and all(
        _fits(inputs[name].shape, shape, sizes) for name, shape in wanted.items()
    )
    if fits and graph == "vision_encoder":
        grid = [int(side) for side in inputs["grid"]]
        merge = dims.vision.merge
        fits = all(side >= merge and side % merge == 0 for side in grid)
        fits = fits and grid[0] * grid[1] == sizes["patches"]
    if fits and graph == "dit_step":
        fits = sizes["frames"] % dims.dit.block == 0
    if fits and "rows" in sizes:
        fits = sizes["rows"] > 1
    if not (fits and all(_is_number(array) for array in inputs.values())):
        raise OmnijetError(
            f"the recorded inputs are not those of {graph}",
            expected=", ".join(f"{name}{list(shape)}" for name, shape in wanted.items()),
            got=", ".join(f"{name}{list(array.shape)}" for name, array in inputs.items())[:300],
            fix="record them again: omnijet check BUNDLE --record-reference",
        )


def _fits(found: tuple[int, ...], wanted: Shape, sizes: dict[str, int]) -> bool:
    if len(found) != len(wanted):
        return False
    for size, axis in zip(found, wanted, strict=True):
        if isinstance(axis, str):
            if not 0 < size <= MOST:
                return False
            axis = sizes.setdefault(axis, size)
        if size != axis:
            return False
    return True


def _is_number(array: Array) -> bool:
    return array.dtype.kind in "fi" and bool(np.isfinite(array).all())
