"""Synthesizes speech while its codes arrive: DiT windows and vocoder pieces, joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.backends.protocol import Graph
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.speech.dit import DitTables, Past, Stretch, solve
from omnijet.runtime.speech.presets import SpeechPreset
from omnijet.runtime.speech.vocoder import VocoderStream
from omnijet.runtime.speech.windows import Window


class SpeechGraphs:
    """The graphs, buffers and tables that all utterances of one model share."""

    def __init__(self, dit_step: Graph, vocoder: Graph, tables: DitTables) -> None:
        self.dit_step = Bindings(dit_step)
        self.vocoder = Bindings(vocoder)
        self.tables = tables


class Synthesis:
    """The synthesis of one utterance.

    Attributes:
        codes: all codes so far.
        windows: number of windows done.
        frames: number of mel frames done.
        past: keys and values that the next window sees of them.
        finished: whether the utterance is complete.
    """

    def __init__(
        self,
        graphs: SpeechGraphs,
        voice: Array,
        seed: int,
        preset: SpeechPreset,
        stage: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
    ) -> None:
        self.graphs = graphs
        self._stage = stage  # a context per graph call, for timing
        self.voice = voice  # f32[hidden], the speaker's table
        self.preset = preset
        self.codes: list[int] = []
        self.windows = self.frames = 0
        self.past = Past()
        self.finished = False
        self.vocoder = VocoderStream(graphs.vocoder, preset.context)
        # drawn row by row, so that a frame's noise does not depend on the utterance's length
        self._random = np.random.default_rng(seed)
        self._noise = np.empty((0, graphs.tables.dims.mel), np.float32)

    def push(
        self, codes: Sequence[int], last: bool = False, check: Check = never
    ) -> Iterator[Array]:
        """Takes codes and yields f32[samples] at 24 kHz as soon as there are enough codes.

        Exhaust the iterator before the next push. `check` is called before every graph call and
        may raise to cancel; the object is unusable after that.
        """
        assert not self.finished, "this utterance has ended"
        self.codes += codes
        return self._pieces(last, check)

    def has_piece(self, last: bool) -> bool:
        """Returns whether the iterator of the last push may yield sound; otherwise it is at its
        end, and nobody need wait for the buffers.
        """
        return last or self._next(last) is not None

    def _pieces(self, last: bool, check: Check) -> Iterator[Array]:
        while window := self._next(last):
            ends = last and window.end == self._known
            with self._stage("dit"):
                mel = self._mel(window, ends, check).T
            begin, end = window.begin - window.start, window.end - window.start
            ahead = mel[:, end:] if self.preset.guess else None
            check()
            with self._stage("vocoder"):
                samples = self.vocoder.push(mel[:, begin:end], ahead, ends)
            if samples.size:
                yield samples
        if last and self.vocoder.voiced < self.frames:  # no code followed the last window
            check()
            with self._stage("vocoder"):
                nothing = np.empty((self._noise.shape[1], 0), np.float32)
                rest = self.vocoder.push(nothing, last=True)
            yield rest
        self.finished = last

    def mel_of(self, codes: Sequence[int], report: Callable[[int], None]) -> Array:
        """Returns the mel f32[80, frames] of a whole utterance, in place of `push`.

        Args:
            report: called with the number of frames done.
        """
        assert not self.codes, "this utterance has begun"
        self.codes += codes
        pieces = []
        while window := self._next(last=True):
            with self._stage("dit"):
                mel = self._mel(window, window.end == self._known, never)
            pieces.append(mel[window.begin - window.start : window.end - window.start])
            report(self.frames)
        self.finished = True
        return np.ascontiguousarray(np.concatenate(pieces).T)

    @property
    def _known(self) -> int:
        """Mel frames whose codes have arrived."""
        return len(self.codes) * self.graphs.tables.dims.repeats

    def _next(self, last: bool) -> Window | None:
        block = self.graphs.tables.dims.block
        return self.preset.windows.window(self.windows, self.frames, self._known, block, last)

    def _mel(self, window: Window, ends: bool, check: Callable[[], None]) -> Array:
        """Solves one window and commits its chunk: f32[frames, 80]."""
        tables = self.graphs.tables
        dims = tables.dims
        codes = self.codes[window.start // dims.repeats : window.stop // dims.repeats]
        stretch = Stretch(window.start, np.array(codes, np.int64), self._noise_of(window))
        past = self.past if self.preset.windows.carries else None
        self.past.commit = (window.end - window.start - 1) // dims.block
        # the last window has a length of its own: keeping buffers for every such length would
        # take more memory than those of all regular windows
        bind = self.graphs.dit_step.once if ends else self.graphs.dit_step.of
        mel = solve(bind, tables, self.voice, stretch, self.preset.solver, past, check)
        self.windows += 1
        self.frames = window.end
        return mel

    def _noise_of(self, window: Window) -> Array:
        missing = window.stop - len(self._noise)
        if missing > 0:
            more = self._random.standard_normal((missing, self._noise.shape[1]), np.float32)
            self._noise = np.concatenate([self._noise, more])
        return self._noise[window.start : window.stop]
