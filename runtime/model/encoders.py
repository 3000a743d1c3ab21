"""The encoders: mel frames and picture patches become rows of the Thinker's width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from omnijet.runtime.backends.protocol import Bound, Graph, run_once
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import AudioEncoderDims, VisionEncoderDims
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.model import audio_plan, vision_plan
from omnijet.runtime.model.finite import require_finite
from omnijet.runtime.model.vision_plan import VisionPlan

MAX_CHUNKS = 16  # 32 s of sound in one call bound its memory
JOINED_CELLS = 1024  # several pictures in one call have at most so many, which bounds its memory


@dataclass(frozen=True, slots=True)
class AudioEncoder:
    """Runs the graph `audio_encoder`."""

    graph: Graph
    dims: AudioEncoderDims

    def encode(self, mels: Sequence[Array], check: Check = never) -> Array:
        """Encodes f32[n_mels, frames] per sound to f32[tokens, hidden], sound after sound.

        Args:
            check: called before every graph call; it may raise to cancel.
        """
        plan = audio_plan.plan_audio(self.dims, [mel.shape[1] for mel in mels])
        features = []
        most = self.graph.limit("chunks") or MAX_CHUNKS
        for feeds in plan.batches(mels, min(most, MAX_CHUNKS)):
            check()
            sizes = {"chunks": len(feeds["mel"]), "tokens": len(feeds["pool_rows"])}
            made = run_once(self.graph, sizes, feeds)["features"]
            require_finite(made, self.graph.contract.name, "features", "while a sound is encoded")
            features.append(made)
        return np.concatenate(features)


@dataclass(frozen=True, slots=True)
class VisionEncoder:
    """Runs the graph `vision_encoder`, on a GPU with several frames of a clip per call.

    Frames never attend to each other, but small ones together keep a GPU busier.
    """

    graph: Graph
    dims: VisionEncoderDims

    def encode(
        self,
        steps: Iterable[Array],
        grid: tuple[int, int, int],
        check: Check = never,
    ) -> Array:
        """Encodes one picture or clip to f32[t * h * w / 4, hidden].

        Args:
            steps: patches of each of the t temporal steps, f32[h * w, patch_width], in merge
                order. They are taken one by one, so that a clip's need not be there at once.
            grid: (t, h, w) in patches.
            check: called before every graph call; it may raise to cancel.

        Returns:
            Features in raster order of the merged cells.
        """
        frames, height, width = grid
        plan = vision_plan.plan(self.dims, height, width)
        features = np.empty((frames * plan.cells, self.dims.out), np.float32)
        each, coming = self.pictures(frames, plan), iter(steps)
        for first in range(0, frames, each):
            count = min(each, frames - first)
            if first == 0 or count != each:
                bound = self._bind(plan, count)
            patches = bound.inputs["patches"].reshape(count, plan.patches, -1)
            taken = -1
            for taken, content in enumerate(islice(coming, count)):
                patches[taken] = plan.ordered(content)
            assert taken + 1 == count, (first, taken, grid)
            check()
            bound.run()
            made = bound.outputs["features"].reshape(count, plan.cells, -1)
            for frame, picture in enumerate(made, first):
                step = f"frame {frame + 1} of {frames}"
                require_finite(picture, self.graph.contract.name, "features", step)
                rows = slice(frame * plan.cells, (frame + 1) * plan.cells)
                features[rows] = plan.restore(picture)
        assert next(coming, None) is None, grid
        return features

    def _bind(self, plan: VisionPlan, pictures: int) -> Bound:
        """Returns buffers for so many pictures, with all but their patches written."""
        sizes, known = plan.sizes(pictures), self.graph.contract.symbols
        bound = self.graph.bind({symbol: sizes[symbol] for symbol in known})
        for name, table in plan.tables(pictures).items():
            if name in bound.inputs:
                bound.inputs[name][...] = table
        return bound

    def pictures(self, frames: int, plan: VisionPlan) -> int:
        """Returns how many of a clip's frames each call takes; the last one may take fewer."""
        one, known = plan.sizes(1), self.graph.contract.symbols
        joins = self.graph.joins and "pictures" in known  # older bundles take one
        most = max(JOINED_CELLS // plan.cells, 1) if joins else 1
        for symbol in ("cells", "windows", "pictures"):
            if symbol in known and (limit := self.graph.limit(symbol)) is not None:
                most = min(most, max(limit // one[symbol], 1))
        calls = max(-(-frames // most), 1)
        return max(-(-frames // calls), 1)
