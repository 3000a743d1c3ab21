"""The largest sizes that a bundle is built for on a target: context, pictures, sounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.engines.targets.limits import GROWTH, windows_of
from omnijet.engines.targets.target import Target
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.decoder import PREFILL_ROWS

CLIP_CELLS = 128
"""Cells of one frame of a clip: the fewest that preprocessing gives it
(`omnijet.runtime.bundle.preprocessing.Preprocessing.video_min_pixels`)."""
PICTURE_CELLS = 256
"""Cells of a picture of 448 x 448 pixels."""
CELL_SIDE = 28  # pixels
AUDIO_PER_S = 25  # tokens of sound
CLIP_PER_S = CLIP_CELLS + AUDIO_PER_S
"""Rows of a second of a clip with sound: one frame of two pictures, and its sound."""
KEPT_FREE = 1 / 4
"""Share of the context that is left for the reply (`omnijet.runtime.talk.turn`)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Largest sizes, by the symbols of the contract.

    Attributes:
        copies: lengths of the KV caches that are held at once.
    """

    limits: Mapping[str, int]
    copies: float

    @staticmethod
    def of(
        dims: ModelDims, target: Target, context: int | None = None, cells: int | None = None
    ) -> Sizes:
        """Returns the sizes of a target, or those that are asked for.

        Args:
            context: rows of the KV caches.
            cells: of the largest picture.

        Raises:
            OmnijetError: the model knows no so many positions.
        """
        decoders = [dims.thinker] if dims.speech is None else [dims.thinker, dims.speech.talker]
        most = min(decoder.max_positions for decoder in decoders)
        if context is not None and not 1 <= context <= most:
            raise OmnijetError(
                "the context is outside the model's range",
                where="--context",
                expected=f"1 to {most:,} rows",
                got=context,
            )
        limits = dict(target.limits)
        capacity = min(limits["capacity"], most) if context is None else context
        limits |= {"capacity": capacity, "rows": min(limits["rows"], capacity, PREFILL_ROWS)}
        if cells is not None:
            windows = windows_of(cells, limits["pictures"])
            limits |= {"cells": cells, "picture_cells": cells, "windows": windows}
        grows = target.library == "tensorrt" and target.flavour == "decomposed"
        return Sizes(limits, 2 * GROWTH if grows else 1.0)

    @property
    def capacity(self) -> int:
        """Rows of the KV caches."""
        return self.limits["capacity"]

    @property
    def sound_s(self) -> float:
        """Seconds of sound in one conversation, a quarter of which is left for replies."""
        return (1 - KEPT_FREE) * self.capacity / AUDIO_PER_S

    @property
    def pictures(self) -> int:
        """Pictures of 448 x 448 in one conversation."""
        return int((1 - KEPT_FREE) * self.capacity / PICTURE_CELLS)

    @property
    def clip_s(self) -> float:
        """Seconds of a clip with sound, its frames as small as they get."""
        return (1 - KEPT_FREE) * self.capacity / CLIP_PER_S

    @property
    def picture_side(self) -> int:
        """Pixels of a side of the largest square picture; larger ones are made smaller."""
        return int(self.limits["cells"] ** 0.5) * CELL_SIDE
