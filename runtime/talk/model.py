"""The model of a bundle: graphs, tables and host arithmetic, shared by all turns."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

import numpy as np

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.backends.lanes import Lanes, PassingGraph
from omnijet.runtime.backends.protocol import Backend, Graph, run_once
from omnijet.runtime.birthplace import Birthplace
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import no_voice
from omnijet.runtime.bundle.folder import CHAT_TEMPLATE, TOKENIZER, Bundle, rebuild_command
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.cut_frames import CutFrames
from omnijet.runtime.media.sizing import AS_THE_MODEL_HAS_IT, Ceiling, Sizing
from omnijet.runtime.model.decoder import Decoder
from omnijet.runtime.model.encoders import AudioEncoder, VisionEncoder
from omnijet.runtime.model.finite import require_finite
from omnijet.runtime.model.talker import Talker
from omnijet.runtime.model.thinker import Thinker
from omnijet.runtime.prompt.layout import Prompt, build_prompt
from omnijet.runtime.prompt.medium import Content, EncoderInput
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.speech import dit
from omnijet.runtime.speech.presets import SpeechPreset, speech_preset
from omnijet.runtime.speech.synthesis import SpeechGraphs, Synthesis
from omnijet.runtime.speech.vocoder import wave_in_pieces
from omnijet.runtime.talk.cause import explained
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.options import whole_number
from omnijet.runtime.talk.workers import Workers

_log = logging.getLogger(__name__)


class Model:
    """A bundle's graphs and what feeds them. A graph is loaded when a stage first needs it.

    Attributes:
        birthplace: the process that may use it.
        dims: the model's facts.
        context_limit: rows of the KV caches.
        lanes: where its graph calls pass; who uses the buffers of the speech graphs holds
            `lanes.speaking`.
    """

    def __init__(self, bundle: Bundle, backend: Backend, context_limit: int | None = None) -> None:
        _require_precision(bundle, backend)
        self.birthplace = Birthplace(self, bundle.folder)
        self.bundle = bundle
        self.backend = backend
        self.dims = bundle.manifest.dims
        most = self.dims.thinker.max_positions
        if context_limit is not None:
            most = whole_number(context_limit, "context_limit", 1)
        contracts = bundle.manifest.contracts.items()
        cached = [name for name, contract in contracts if "capacity" in contract.symbols]
        caches = [backend.limit(name, "capacity") for name in cached]
        self.context_limit = min([most, *(limit for limit in caches if limit is not None)])
        self.preprocessing = Preprocessing.from_json(bundle.manifest.preprocessor)
        with bundle.watch.reading(TOKENIZER):
            self.tokenizer = Tokenizer(bundle.folder / TOKENIZER)
        self.chat_template = bundle.text(CHAT_TEMPLATE)
        self.lanes = Lanes()
        self._streams: weakref.WeakSet[Workers] = weakref.WeakSet()  # may still run
        self._adding = threading.Lock()
        self._graphs: dict[str, Graph] = {}
        self._loading = threading.Lock()  # workers and streams ask for graphs at once
        self._is_closed = False
        self._warned: set[str] = set()

    def warn_once(self, message: str) -> None:
        """Logs a warning, unless it was logged for this model before."""
        if message not in self._warned:
            self._warned.add(message)
            _log.warning("%s", message)

    def close(self) -> None:
        """Ends every stream and every thread, and lets go of the graphs. Harmless if repeated.

        In a child of the process that opened it nothing is done.
        """
        if not self.birthplace.is_here:
            return
        with device_call(), self._loading:
            self._is_closed = True
        with device_call(), self._adding:
            streams = list(self._streams)
        for workers in streams:
            workers.end()
        self.backend.close()
        with device_call(), self._loading:
            self._graphs.clear()
        for part in ("ears", "eyes", "thinker", "talker", "speech", "dit_tables"):
            self.__dict__.pop(part, None)

    def add_stream(self, workers: Workers) -> None:
        """Notes workers that `close` ends.

        Raises:
            OmnijetError: the model was closed.
        """
        with device_call(), self._adding:
            self.require_open()
            self._streams.add(workers)

    def graph(self, name: str) -> Graph:
        """Returns a graph of the bundle, loaded.

        Raises:
            OmnijetError: it cannot be loaded, it was replaced since the bundle was opened, it
                speaks and the bundle has no voice, or the model was closed.
        """
        self.birthplace.require_here()
        with device_call(), self._loading:
            self.require_open()
            if name not in self._graphs:
                contract = self.bundle.manifest.contracts.get(name)
                if contract is None:
                    raise no_voice(self.bundle.folder)
                entry = self.bundle.manifest.graphs[name]
                with self.bundle.watch.reading(entry.file, entry.weights):
                    loaded = self.backend.load(self.bundle.graph(name), contract)
                    self._graphs[name] = PassingGraph(loaded, self.lanes)
            return self._graphs[name]

    def require_picks(self) -> None:
        """Raises `OmnijetError` if the Thinker's graph computes the logits of one row alone."""
        graph = "thinker_step"
        if "picked" not in self.bundle.manifest.contracts[graph].symbols:
            raise OmnijetError(
                "this bundle cannot check guesses",
                where=self.bundle.folder,
                expected=f"a {graph} that computes logits of several rows",
                got="one that an older version of omnijet exported",
                fix="export the checkpoint again, or leave out lookup",
            )
        most = self.backend.limit(graph, "picked")
        if most is not None and most < 2:
            raise OmnijetError(
                "this engine cannot check guesses",
                where=self.bundle.folder,
                expected="an engine that computes logits of several rows",
                got=f"{graph} with at most {most} picked",
                fix=f"{self._rebuild('picked')}, or leave out lookup",
            )

    def require_usable(self) -> None:
        """Raises `OmnijetError` if the model was closed, or its files were edited in place."""
        self.require_open()
        self.bundle.watch.require_unedited()

    def require_open(self) -> None:
        """Raises `OmnijetError` if the model was closed, or this process is a child."""
        self.birthplace.require_here()
        if self._is_closed:
            raise OmnijetError(
                "this model was closed",
                where=self.bundle.folder,
                fix="load the bundle again, or ask before the end of the `with` block",
            )

    def load(
        self,
        *,
        hearing: bool = True,
        sight: bool = True,
        speech: bool | None = None,
        check: Check = never,
    ) -> None:
        """Loads the graphs that a turn will need; those loaded already cost nothing.

        Args:
            check: called before each graph; it may raise to cancel.

        Raises:
            OmnijetError: a graph cannot be loaded, or the bundle lacks the voice that is asked for.
        """
        speech = self.bundle.speaks(speech)
        wanted = {
            "audio_encoder": hearing,
            "vision_encoder": sight,
            "thinker_step": True,
            "talker_step": speech,
            "dit_step": speech,
            "vocoder": speech,
        }
        for name, needed in wanted.items():
            if needed:
                check()
                self.graph(name)

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        use_audio_in_video: bool = True,
        check: Check = never,
        report: Callable[[int, int], None] | None = None,
        wishes: Sizing = AS_THE_MODEL_HAS_IT,
        strict_size: bool = False,
    ) -> Prompt:
        """Lays a conversation out: text in the template, media read.

        Args:
            check: called between the pieces that media are read in; it may raise to cancel.
            report: called with the frames of a clip that were read, and how many will be.
            wishes: about the size of pictures and clips; those of a part itself go before.
            strict_size: whether what is too large for this machine stays as it is, to be refused.

        Raises:
            OmnijetError: a medium is unusable.
        """
        return build_prompt(
            messages, self.tokenizer, self.dims, self.preprocessing,
            use_audio_in_video=use_audio_in_video, chat_template=self.chat_template, check=check,
            report=report, wishes=wishes, ceiling=None if strict_size else self.ceiling,
        )  # fmt: skip

    @property
    def ceiling(self) -> Ceiling:
        """The largest pictures that the vision encoder and the context take."""
        cells, pixels = self.backend.limit("vision_encoder", "cells"), self.preprocessing.factor**2
        total = self.context_limit * pixels
        if cells is None or cells >= self.context_limit:
            return Ceiling(None, total, self.more_context)
        return Ceiling(cells * pixels, total, self._rebuild("cells"))

    @property
    def more_context(self) -> str:
        """How to get a longer context, for messages."""
        if self.backend.limit("thinker_step", "capacity") is not None:
            return self._rebuild("capacity")
        if self.context_limit < self.dims.thinker.max_positions:
            return "a higher context_limit gives more"
        return "the model has no longer context"

    def _rebuild(self, limit: str) -> str:
        command = rebuild_command(self.bundle.folder, "TARGET")
        return f"`{command} --limit {limit}=N` gives more"

    def embed(
        self, prompt: Prompt, first: int, stop: int, clock: Clock, check: Check = never
    ) -> Array:
        """Returns rows of a prompt with the media in them filled in: f32[stop - first, hidden]."""
        embeds = self.thinker.embed(prompt.input_ids[first:stop])
        for source, rows in prompt.shares:
            begin, end = np.searchsorted(rows, [first, stop]).tolist()
            if begin < end:
                with clock.stage("audio_encoder" if source.grid is None else "vision_encoder"):
                    made = self.encode(source, begin, end, check)
                embeds[rows[begin:end] - first] = made
        return embeds

    def encode(self, source: EncoderInput, first: int, stop: int, check: Check = never) -> Array:
        """Returns the rows of some tokens of a medium: f32[stop - first, hidden].

        What was encoded before is not encoded again.
        """
        return source.rows(first, stop, partial(self._encode_blocks, source, check))

    def _encode_blocks(
        self, source: EncoderInput, check: Check, content: Content, begin: int, end: int
    ) -> Array:
        if isinstance(content, CutFrames):
            return self.eyes.encode(content.steps(check), content.grid, check)
        frames = self.dims.audio.chunk_frames
        return self.ears.encode([content[:, begin * frames : end * frames]], check)

    # -- speech ---------------------------------------------------------------------

    def synthesis(self, voice: str, seed: int, preset: SpeechPreset, clock: Clock) -> Synthesis:
        """Makes an utterance that is spoken in pieces."""
        table = self.bundle.table(f"voice_{voice}")
        return Synthesis(self.speech, table, seed, preset, clock.stage)

    def next_piece(self, pieces: Iterator[Array]) -> Array | None:
        """Makes one window's sound: one utterance at a time uses the model's buffers."""
        with explained(self.bundle), device_call(), self.lanes.speaking:
            return next(pieces, None)

    def mel_of(self, codes: Sequence[int], voice: str, seed: int, clock: Clock) -> Array:
        """Makes the log-mel of codec tokens in one piece: f32[80, 2 * codes]."""
        frames = len(codes) * self.dims.dit.repeats
        shape = (frames, self.dims.dit.mel)
        most = self.graph("dit_step").limit("blocks")
        if most is not None and frames > most * self.dims.dit.block:
            return self._mel_in_windows(codes, voice, seed, clock)
        noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        with explained(self.bundle), clock.stage("dit"):
            mel: Array = dit.synthesize(
                self.graph("dit_step"),
                self.dit_tables,
                np.array(codes),
                self.bundle.table(f"voice_{voice}"),
                noise,
                report=lambda done, total: clock.report("dit", done, total),
            )
        spoken: Array = mel[0]
        return spoken

    def _mel_in_windows(self, codes: Sequence[int], voice: str, seed: int, clock: Clock) -> Array:
        """Makes the same as a stream does: an engine's sizes end where its profiles do."""
        whole = self.synthesis(voice, seed, speech_preset("exact"), clock)

        def report(done: int) -> None:
            clock.report("dit", done, len(codes) * self.dims.dit.repeats)

        with explained(self.bundle), device_call(), self.lanes.speaking:
            return whole.mel_of(list(codes), report)

    def wave_of(self, mel: Array, clock: Clock) -> Array:
        """Makes sound f32[240 * frames] at 24 kHz of a log-mel f32[80, frames]."""
        with explained(self.bundle), clock.stage("vocoder"):
            graph = self.graph("vocoder")
            most = graph.limit("frames")
            if most is not None and mel.shape[1] > most:
                with device_call(), self.lanes.speaking:
                    return wave_in_pieces(self.speech.vocoder, mel, most)
            wave = run_once(graph, {"frames": mel.shape[1]}, {"mel": mel[None]})["wave"][0]
            require_finite(wave, "vocoder", "wave", f"mel frames 0 to {mel.shape[1]}")
            # a reply may be kept for long: the buffers of a device are not its to hold
            return np.array(wave)

    # -- parts ----------------------------------------------------------------------

    def _embedding(self, part: str) -> Array:
        """A mapped table as a plain array: taking a row of numpy's memmap costs 5 µs more."""
        return np.asarray(self.bundle.table(f"{part}_embedding"))

    @cached_property
    def ears(self) -> AudioEncoder:
        return AudioEncoder(self.graph("audio_encoder"), self.dims.audio)

    @cached_property
    def eyes(self) -> VisionEncoder:
        return VisionEncoder(self.graph("vision_encoder"), self.dims.vision)

    @cached_property
    def thinker(self) -> Thinker:
        decoder = Decoder(self.graph("thinker_step"), self.dims.thinker, self.context_limit)
        return Thinker(decoder, self._embedding("thinker"), self.dims.tokens)

    @cached_property
    def talker(self) -> Talker:
        decoder = Decoder(self.graph("talker_step"), self.dims.talker, self.context_limit)
        return Talker(
            decoder,
            self._embedding("talker"),
            self._embedding("thinker"),
            self.dims.tokens,
            self.dims.codec,
        )

    @cached_property
    def speech(self) -> SpeechGraphs:
        return SpeechGraphs(self.graph("dit_step"), self.graph("vocoder"), self.dit_tables)

    @cached_property
    def dit_tables(self) -> dit.DitTables:
        return dit.DitTables.load(self.bundle.table, self.dims.dit)


def _require_precision(bundle: Bundle, backend: Backend) -> None:
    """Refuses a bundle before anything of it is loaded. Raises `OmnijetError`."""
    precision, able = bundle.manifest.precision, " or ".join(backend.precisions)
    if precision not in backend.precisions:
        ready = [f"--engines {target}" for target in bundle.manifest.engine_targets]
        build = f"`{rebuild_command(bundle.folder, 'T')}` and --engines T"
        ways = f"run engines, which know it: {' or '.join(ready) or build}"
        if not ready and backend.name.startswith("onnxruntime-cpu"):
            # engines run without ONNX Runtime, which is there in this case
            from omnijet.runtime.backends.ort_installed import cpu_target

            made = rebuild_command(bundle.folder, cpu_target())
            ways = f"`{made}` makes graphs in f32, which run without any option"
        raise OmnijetError(
            f"{backend.name} has no kernels for graphs in {precision}",
            where=bundle.folder,
            expected=f"a bundle in {able}",
            got=f"a bundle in {precision}",
            fix=f"{ways}; or export the checkpoint with --dtype {able}",
        )
