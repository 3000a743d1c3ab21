"""Frames that become patches one temporal step at a time.

Patches are f32, and those of a picture fill both frames of a temporal patch: 8 bytes for each byte
of a picture, 4 for each of a clip. A minute of film took 0.9 GB until it was encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.media.image import Frames, Grid, frame_patches


@dataclass(frozen=True, slots=True, eq=False)
class CutFrames:
    """A picture or clip, resized: uint8[frames, height, width, 3]. Nobody may change it.

    The last frame is repeated to fill the last temporal patch.
    """

    frames: Frames
    preprocessing: Preprocessing

    @property
    def grid(self) -> Grid:
        """Temporal steps, rows and columns, in patches."""
        count, height, width, _ = self.frames.shape
        patch, depth = self.preprocessing.patch, self.preprocessing.temporal_patch
        return -(-count // depth), height // patch, width // patch

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes

    def steps(self, check: Check = never) -> Iterator[Array]:
        """Yields f32[h * w, patch_width] of each temporal step, in merge order.

        Args:
            check: called before each frame; it may raise to cancel.
        """
        depth = self.preprocessing.temporal_patch
        for first in range(0, len(self.frames), depth):
            yield frame_patches(self.frames[first : first + depth], self.preprocessing, check)[0]

    def patches(self, check: Check = never) -> Array:
        """Returns the patches of all steps at once: f32[t * h * w, patch_width]."""
        return frame_patches(self.frames, self.preprocessing, check)[0]
