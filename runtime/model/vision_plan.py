"""Orders the patches of pictures of one size by attention window, and features back by raster.

Most layers of the vision tower attend inside windows of 8 x 8 patches. Patches arrive in
merge order (2 x 2 patches of a cell together, cells in raster order) and are fed window by
window. The plan holds everything that depends on the frame's size alone. Source:
`get_window_index` and `rot_pos_emb` of transformers 4.57.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import VisionEncoderDims
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.rope import FloatArray, IntArray, vision_cos_sin

# a clip's frames share one plan, and a large picture's plan takes tens of MB
PLANS_KEPT = 4


@dataclass(frozen=True, slots=True, eq=False)
class VisionPlan:
    """The orders, masks and rotary tables of frames of `height` x `width` patches.

    The arrays are shared between calls and therefore read-only.
    """

    height: int  # patches
    width: int  # patches
    cell_order: IntArray  # [cells]: which cell in merge order stands at each place in window order
    restore_order: IntArray  # [cells], the inverse of `cell_order`
    patch_order: IntArray  # [patches]: `cell_order` spelled out for patches
    cos: FloatArray  # [1, patches, head_dim / 2], in window order
    sin: FloatArray
    window_rows: IntArray  # [windows, window_patches]
    window_mask: npt.NDArray[np.bool_]  # [windows, 1, 1, window_patches]
    window_slots: IntArray  # [patches]

    @property
    def patches(self) -> int:
        return len(self.patch_order)

    @property
    def windows(self) -> int:
        return len(self.window_rows)

    @property
    def cells(self) -> int:
        """Merged cells, and thus tokens, of the frame."""
        return len(self.cell_order)

    def sizes(self, pictures: int) -> dict[str, int]:
        """Returns the size of each symbol of the contract for a call with so many pictures."""
        return {
            "cells": pictures * self.cells,
            "windows": pictures * self.windows,
            "pictures": pictures,
            "picture_cells": self.cells,
        }

    def tables(self, pictures: int) -> dict[str, Array]:
        """Returns the inputs of a call that depend on nothing but the number of its pictures."""
        numbers = np.arange(pictures)[:, None]
        rows = (numbers * self.patches)[:, None] + self.window_rows
        slots = numbers * self.window_rows.size + self.window_slots
        return {
            "cos": np.tile(self.cos, (1, pictures, 1)),
            "sin": np.tile(self.sin, (1, pictures, 1)),
            "window_rows": rows.reshape(-1, self.window_rows.shape[1]),
            "window_mask": np.tile(self.window_mask, (pictures, 1, 1, 1)),
            "window_slots": slots.ravel(),
            "picture_rows": numbers * self.patches + np.arange(self.patches),
        }

    def ordered(self, patches: Array) -> Array:
        """Returns one picture's f32[patches, patch_width] in window order, from merge order."""
        if patches.ndim != 2 or len(patches) != self.patches:
            raise OmnijetError(
                "the patches do not fit the frame's grid",
                where="patches",
                expected=f"{self.patches} rows (grid {self.height} x {self.width})",
                got=f"shape {patches.shape}",
            )
        # moving cells instead of patches makes fewer and longer copies
        by_cell = patches.reshape(self.cells, -1)
        ordered: Array = by_cell[self.cell_order].reshape(patches.shape)
        return ordered

    def feeds(self, *pictures: Array) -> dict[str, Array]:
        """Returns the inputs of `vision_encoder` for f32[patches, patch_width] of each picture."""
        patches = np.concatenate([self.ordered(one) for one in pictures])
        return {"patches": patches, **self.tables(len(pictures))}

    def restore(self, features: Array) -> Array:
        """Returns features f32[cells, out] in raster order, from window order."""
        if len(features) != self.cells:
            raise OmnijetError(
                "the vision encoder returned another number of features than planned",
                where="vision_encoder.features",
                expected=self.cells,
                got=len(features),
            )
        restored: Array = features[self.restore_order]
        return restored


@lru_cache(maxsize=PLANS_KEPT)
def plan(dims: VisionEncoderDims, height: int, width: int) -> VisionPlan:
    """Returns the plan for frames of `height` x `width` patches.

    Raises:
        OmnijetError: a side is no multiple of the merge size.
    """
    if min(height, width) < dims.merge or height % dims.merge or width % dims.merge:
        raise OmnijetError(
            "the frame's grid does not divide into merged cells",
            where="grid (height, width) in patches",
            expected=f"positive multiples of {dims.merge}",
            got=(height, width),
        )
    cell_order, window_of = _window_order(
        height // dims.merge, width // dims.merge, dims.window_cells
    )
    patch_order = (cell_order[:, None] * dims.cell_patches + np.arange(dims.cell_patches)).ravel()
    cos, sin = vision_cos_sin(_merge_order(height, width, dims.merge)[patch_order], dims.head_dim)

    windows = int(window_of[-1]) + 1
    sizes = np.bincount(window_of, minlength=windows) * dims.cell_patches
    within = np.arange(dims.window_patches)
    firsts = np.cumsum(sizes) - sizes
    filled = within < sizes[:, None]
    window_rows = np.where(filled, firsts[:, None] + within, 0)
    arrays = {
        "cell_order": cell_order,
        "restore_order": np.argsort(cell_order),
        "patch_order": patch_order,
        "cos": cos,
        "sin": sin,
        "window_rows": window_rows,
        "window_mask": filled[:, None, None],
        "window_slots": np.flatnonzero(filled),
    }
    for array in arrays.values():
        array.flags.writeable = False
    return VisionPlan(height, width, **arrays)


def _window_order(rows: int, columns: int, side: int) -> tuple[IntArray, IntArray]:
    """Returns the cells sorted by window and then by raster, and the window of each place.

    Windows at the right and bottom edges are smaller. Upstream pads the grid to full windows
    (by one more window where it already divides) and then drops the empty ones.
    """
    across = -(-columns // side)
    window = (np.arange(rows) // side)[:, None] * across + np.arange(columns) // side
    order = np.argsort(window.ravel(), kind="stable")
    return order, window.ravel()[order]


def _merge_order(height: int, width: int, merge: int) -> IntArray:
    """Returns (row, column) of every patch in merge order: i64[patches, 2]."""
    grid = np.indices((height // merge, merge, width // merge, merge), dtype=np.int64)
    rows = (grid[0] * merge + grid[1]).transpose(0, 2, 1, 3)
    columns = (grid[2] * merge + grid[3]).transpose(0, 2, 1, 3)
    return np.stack([rows.ravel(), columns.ravel()], axis=1)
