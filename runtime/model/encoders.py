"""The encoders: mel frames and picture patches become rows of the Thinker's width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from omnijet.runtime.backends.protocol import Graph, run_once
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import AudioEncoderDims, VisionEncoderDims
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.model import audio_plan, vision_plan
from omnijet.runtime.model.finite import require_finite

MAX_CHUNKS = 16  # 32 s of sound in one call bound its memory


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
    """Runs the graph `vision_encoder`, one frame per call.

    Frames never attend to each other, and a long clip in one call would hold all its score
    matrices at once.
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
        sizes = {"cells": plan.cells, "windows": len(plan.window_rows)}
        bound = self.graph.bind(sizes)
        features = np.empty((frames * plan.cells, self.dims.out), np.float32)
        frame = -1
        for frame, content in enumerate(steps):
            check()
            feeds = plan.feeds(content)
            for name in feeds if frame == 0 else ("patches",):
                bound.inputs[name][...] = feeds[name]
            bound.run()
            made = bound.outputs["features"]
            step = f"frame {frame + 1} of {frames}"
            require_finite(made, self.graph.contract.name, "features", step)
            rows = slice(frame * plan.cells, (frame + 1) * plan.cells)
            features[rows] = plan.restore(made)
        assert frame + 1 == frames, (frame, grid)
        return features
