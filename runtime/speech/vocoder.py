"""Vocodes mel in pieces that join: exactly with full context, faded where context was guessed."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.backends.protocol import run_once
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.finite import require_finite

EXACT_CONTEXT = 28  # mel frames on each side that reach a sample
NEAR_CONTEXT = 20  # frames beyond change a sample by less than f32 resolves
SHORT_CONTEXT = 12  # frames beyond matter less than the error of a guess at the next ones
HELD = 4  # frames next to guessed ones, which suffer most: their sound waits for real context
FADE = 1  # frames over which guessed sound fades into the real one, so that the join does not click


class VocoderStream:
    """Vocodes one utterance piece by piece.

    Source of the contexts: the measured receptive field of `Qwen2_5OmniToken2WavBigVGANModel`.

    Attributes:
        frames: number of mel frames received.
        voiced: number of mel frames whose samples were returned.
    """

    def __init__(self, vocoder: Bindings, context: int = EXACT_CONTEXT) -> None:
        self.vocoder = vocoder
        self.context = context
        mel = vocoder.graph.contract.input("mel").axes[1]
        assert isinstance(mel, int)
        self._mel = np.empty((mel, 0), np.float32)  # the frames from `frames - its width` on
        self.frames = self.voiced = 0
        self._beyond = np.empty(0, np.float32)  # how the last piece would have continued

    def push(self, mel: Array, ahead: Array | None = None, last: bool = False) -> Array:
        """Takes f32[80, frames] and returns the samples that are ready, f32[240 * frames].

        A frame is ready when its context has arrived; with `ahead`, all but the last `HELD`
        frames are; with `last`, all are.

        Args:
            ahead: f32[80, frames], a guess at the next frames, in place of the context.
            last: whether this is the end of the utterance.
        """
        self._mel = np.concatenate([self._mel, mel], axis=1)
        self.frames += mel.shape[1]
        guessed = ahead is not None and ahead.shape[1] > 0
        missing = 0 if last else HELD if guessed else self.context
        ready = self.frames - missing
        if ready <= self.voiced:
            return np.empty(0, np.float32)
        first = self.frames - self._mel.shape[1]
        seen = self._mel
        if guessed:
            assert ahead is not None
            seen = np.concatenate([seen, ahead[:, : SHORT_CONTEXT - HELD]], axis=1)
        wave = self._run(seen, last)
        require_finite(wave, "vocoder", "wave", f"mel frames {first} to {self.frames}")
        hop = len(wave) // seen.shape[1]
        samples = wave[(self.voiced - first) * hop : (ready - first) * hop].copy()
        fade = len(self._beyond)
        if fade:
            weight = (np.arange(fade, dtype=np.float32) + np.float32(0.5)) / np.float32(fade)
            samples[:fade] += (self._beyond - samples[:fade]) * (np.float32(1) - weight)
        self._beyond = wave[(ready - first) * hop :][: FADE * hop].copy() if guessed else wave[:0]
        self.voiced = ready
        self._mel = self._mel[:, max(ready - self.context - first, 0) :]
        return samples

    def _run(self, mel: Array, last: bool) -> Array:
        frames = mel.shape[1]
        if last:  # keeps no buffers: this length may never occur again
            rest: Array = run_once(self.vocoder.graph, {"frames": frames}, {"mel": mel[None]})[
                "wave"
            ][0]
            return rest
        bound = self.vocoder.of(frames=frames)
        bound.inputs["mel"][...] = mel
        bound.run()
        wave: Array = bound.outputs["wave"][0]
        return wave


def wave_in_pieces(vocoder: Bindings, mel: Array, most: int) -> Array:
    """Vocodes f32[80, frames] to f32[240 * frames], each sample with its full context.

    No call takes more than `most` frames.
    """
    step = max(most - 2 * EXACT_CONTEXT, 1)
    stream = VocoderStream(vocoder)
    ends = range(step, mel.shape[1] + step, step)
    pieces = [stream.push(mel[:, end - step : end], last=end >= mel.shape[1]) for end in ends]
    return np.concatenate(pieces)
