"""From chat messages to text and speech: the whole model, stage after stage."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from omnijet.runtime.backends.choose import backend_for
from omnijet.runtime.backends.protocol import Backend, Graph, run_once
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.folder import CHAT_TEMPLATE, TOKENIZER, Bundle, rebuild_command
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.decoder import Decoder
from omnijet.runtime.model.encoders import AudioEncoder, VisionEncoder
from omnijet.runtime.model.talker import Talker
from omnijet.runtime.model.thinker import Thinker
from omnijet.runtime.prompt.layout import Prompt, build_prompt
from omnijet.runtime.prompt.messages import Message, parse_messages
from omnijet.runtime.prompt.tmrope import tmrope_positions
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.speech import dit
from omnijet.runtime.speech.synthesis import SpeechGraphs, SpeechPreset, Synthesis, speech_preset
from omnijet.runtime.speech.vocoder import wave_in_pieces
from omnijet.runtime.talk.channel import Cancellation
from omnijet.runtime.talk.clock import Clock, StageReport
from omnijet.runtime.talk.memory import Memory
from omnijet.runtime.talk.options import Options, whole_number
from omnijet.runtime.talk.reply import Reply
from omnijet.runtime.talk.session import Session
from omnijet.runtime.talk.stream import Stream
from omnijet.runtime.talk.turn import Check, Overflow, Turn, never


class Omni:
    """A bundle ready to answer. Graphs are loaded when a stage first needs them.

    Use `Omni.open`, or `omnijet.load`.
    """

    def __init__(self, bundle: Bundle, backend: Backend, context_limit: int | None = None) -> None:
        _require_precision(bundle, backend)
        self.bundle = bundle
        self.backend = backend
        self.dims = bundle.manifest.dims
        most = self.dims.thinker.max_positions
        if context_limit is not None:
            most = whole_number(context_limit, "context_limit", 1)
        caches = [backend.limit(name, "capacity") for name in ("thinker_step", "talker_step")]
        self.context_limit = min([most, *(limit for limit in caches if limit is not None)])
        self.preprocessing = Preprocessing.from_json(bundle.manifest.preprocessor)
        self.tokenizer = Tokenizer(bundle.folder / TOKENIZER)
        self.chat_template = bundle.text(CHAT_TEMPLATE)
        self.speaking = threading.Lock()  # whoever uses the buffers of the speech graphs
        self._graphs: dict[str, Graph] = {}
        self._loading = threading.Lock()  # workers and streams ask for graphs at once

    @staticmethod
    def open(
        bundle: str | os.PathLike[str],
        *,
        backend: Backend | None = None,
        provider: str | None = None,
        engines: str | None = None,
        context_limit: int | None = None,
    ) -> Omni:
        """Opens a bundle.

        Args:
            bundle: its folder.
            backend: in place of what the next two name.
            provider: of ONNX Runtime, one of `PROVIDERS`; "cpu" by default.
            engines: a target whose engines `omnijet build` put into the bundle.
            context_limit: rows of the KV caches; the model's own limit by default. Engines have
                caches of one length, which it never exceeds.

        Raises:
            OmnijetError: the folder is no bundle, or is damaged; what is to run it cannot, or has
                no kernels for its floats.
        """
        opened = Bundle.open(os.fspath(bundle))
        if backend is None:
            backend = backend_for(opened, provider, engines)
        return Omni(opened, backend, context_limit)

    def generate(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        report: StageReport | None = None,
        **options: Any,
    ) -> Reply:
        """Answers a conversation.

        Args:
            messages: the chat format of the HF processor; media in any turn.
            report: told of progress.
            options: the attributes of `Options`.

        Raises:
            OmnijetError: unusable media, messages or options, an unknown voice, a prompt that
                does not fit the cache.
        """
        turn = self.turn(Options.of(**options), Clock(report))
        return self.answer(turn, parse_messages(messages))

    def stream(
        self, messages: Sequence[Mapping[str, Any]], *, preset: str = "exact", **options: Any
    ) -> Stream:
        """Answers a conversation piece by piece: iterate over `TextDelta` and `PcmChunk`.

        Text and codec tokens are those of `generate`.

        Args:
            messages, options: as for `generate`.
            preset: one of `synthesis.PRESETS`: how near the sound comes to that of
                `generate`, and at what cost.

        Raises:
            OmnijetError: unusable messages, options or preset, an unknown voice. What is found
                later is raised where the stream is read.
        """
        made = speech_preset(preset)
        cancellation = Cancellation()
        turn = self.turn(Options.of(**options), Clock(), check=cancellation.check)
        return Stream(turn, parse_messages(messages), made, cancellation)

    def session(self, *, system: str | None = None, overflow: Overflow = "error") -> Session:
        """A conversation that is fed only what is new, see `Session`."""
        return Session(self, system, overflow)

    def answer(self, turn: Turn, messages: Sequence[Message]) -> Reply:
        """Runs a turn to its end; the speech is made in one piece."""
        for _ in turn.events(messages):
            pass
        if not turn.codes:
            return turn.reply(np.empty(0, np.float32))
        assert turn.options.seed is not None
        mel = self._mel(turn.codes, turn.voice, turn.options.seed, turn.clock)
        audio = self._wave(mel, turn.clock)
        turn.clock.mark("first_pcm")
        return turn.reply(audio, mel)

    def turn(
        self,
        options: Options,
        clock: Clock,
        memory: Memory | None = None,
        check: Check = never,
        overflow: Overflow = "error",
    ) -> Turn:
        """A turn that is ready to run. Raises `OmnijetError` if there is no such voice."""
        name, token = self.bundle.voice_id(options.voice)
        known = Memory() if memory is None else memory
        return Turn(self, options, clock, check, name, token, known, overflow)

    def synthesis(self, voice: str, seed: int, preset: SpeechPreset, clock: Clock) -> Synthesis:
        """An utterance to be spoken in pieces."""
        table = self.bundle.table(f"voice_{voice}")
        return Synthesis(self._speech, table, seed, preset, clock.stage)

    def load(self, *, hearing: bool = True, sight: bool = True, speech: bool = True) -> None:
        """Loads the graphs that a turn will need; those loaded already cost nothing."""
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
                self._graph(name)

    def mel_of(self, codes: Sequence[int], *, voice: str | None = None, seed: int = 0) -> Array:
        """Codec tokens to log-mel f32[80, 2 * codes], as `generate` does it."""
        name, _ = self.bundle.voice_id(voice)
        return self._mel(list(codes), name, seed, Clock())

    def wave_of(self, mel: Array) -> Array:
        """Log-mel f32[80, frames] to sound f32[240 * frames] at 24 kHz."""
        return self._wave(np.ascontiguousarray(mel, np.float32), Clock())

    # -- speech ---------------------------------------------------------------------

    def _mel(self, codes: list[int], voice: str, seed: int, clock: Clock) -> Array:
        """f32[80, frames]."""
        frames = len(codes) * self.dims.dit.repeats
        shape = (frames, self.dims.dit.mel)
        most = self._graph("dit_step").limit("blocks")
        if most is not None and frames > most * self.dims.dit.block:
            return self._mel_in_windows(codes, voice, seed, clock)
        noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        with clock.stage("dit"):
            mel: Array = dit.synthesize(
                self._graph("dit_step"),
                self._dit_tables,
                np.array(codes),
                self.bundle.table(f"voice_{voice}"),
                noise,
                report=lambda done, total: clock.report("dit", done, total),
            )
        spoken: Array = mel[0]
        return spoken

    def _mel_in_windows(self, codes: list[int], voice: str, seed: int, clock: Clock) -> Array:
        """The same as a stream makes it: an engine's sizes end where its profiles do."""
        whole = self.synthesis(voice, seed, speech_preset("exact"), clock)

        def report(done: int) -> None:
            clock.report("dit", done, len(codes) * self.dims.dit.repeats)

        with self.speaking:
            return whole.mel_of(codes, report)

    def _wave(self, mel: Array, clock: Clock) -> Array:
        """f32[samples]."""
        with clock.stage("vocoder"):
            graph = self._graph("vocoder")
            most = graph.limit("frames")
            if most is not None and mel.shape[1] > most:
                with self.speaking:
                    return wave_in_pieces(self._speech.vocoder, mel, most)
            wave = run_once(graph, {"frames": mel.shape[1]}, {"mel": mel[None]})["wave"][0]
            # a reply may be kept for long: the buffers of a device are not its to hold
            return np.array(wave)

    # -- parts ----------------------------------------------------------------------

    def prompt(self, messages: Sequence[Message], *, use_audio_in_video: bool = True) -> Prompt:
        """Lays a conversation out: text in the template, media read.

        Raises:
            OmnijetError: a medium is unusable.
        """
        return build_prompt(
            messages, self.tokenizer, self.dims.tokens, self.preprocessing,
            use_audio_in_video=use_audio_in_video, chat_template=self.chat_template,
        )  # fmt: skip

    def positions(self, prompt: Prompt, ids: Array) -> tuple[Array, int]:
        """TMRoPE of a prompt: i64[3, L], delta."""
        positions, deltas = tmrope_positions(
            ids[None],
            image_grid_thw=[item.grid for item in prompt.images] or None,
            video_grid_thw=[item.grid for item in prompt.videos] or None,
            audio_seqlens=list(prompt.mel_lengths) or None,
            second_per_grids=[item.second_per_grid for item in prompt.videos] or None,
            use_audio_in_video=prompt.use_audio_in_video,
            token_ids=self.dims.tokens,
        )
        return positions[:, 0], int(deltas[0, 0])

    def _graph(self, name: str) -> Graph:
        with self._loading:
            if name not in self._graphs:
                contract = self.bundle.manifest.contracts[name]
                self._graphs[name] = self.backend.load(self.bundle.graph(name), contract)
            return self._graphs[name]

    def _embedding(self, part: str) -> Array:
        """A mapped table as a plain array: taking a row of numpy's memmap costs 5 µs more."""
        return np.asarray(self.bundle.table(f"{part}_embedding"))

    @cached_property
    def ears(self) -> AudioEncoder:
        return AudioEncoder(self._graph("audio_encoder"), self.dims.audio)

    @cached_property
    def eyes(self) -> VisionEncoder:
        return VisionEncoder(self._graph("vision_encoder"), self.dims.vision)

    @cached_property
    def thinker(self) -> Thinker:
        decoder = Decoder(self._graph("thinker_step"), self.dims.thinker, self.context_limit)
        return Thinker(decoder, self._embedding("thinker"), self.dims.tokens)

    @cached_property
    def talker(self) -> Talker:
        decoder = Decoder(self._graph("talker_step"), self.dims.talker, self.context_limit)
        return Talker(
            decoder,
            self._embedding("talker"),
            self._embedding("thinker"),
            self.dims.tokens,
            self.dims.codec,
        )

    @cached_property
    def _speech(self) -> SpeechGraphs:
        return SpeechGraphs(self._graph("dit_step"), self._graph("vocoder"), self._dit_tables)

    @cached_property
    def _dit_tables(self) -> dit.DitTables:
        return dit.DitTables.load(self.bundle.table, self.dims.dit)


def _require_precision(bundle: Bundle, backend: Backend) -> None:
    """Before anything is loaded. Raises `OmnijetError`."""
    precision, able = bundle.manifest.precision, " or ".join(backend.precisions)
    if precision not in backend.precisions:
        ready = [f"--engines {target}" for target in bundle.manifest.engines]
        build = f"`{rebuild_command(bundle.folder, 'T')}` and --engines T"
        raise OmnijetError(
            f"{backend.name} has no kernels for graphs in {precision}",
            where=bundle.folder,
            expected=f"a bundle in {able}",
            got=f"a bundle in {precision}",
            fix=f"run engines, which know it: {' or '.join(ready) or build}; or export the "
            f"checkpoint with --dtype {able}",
        )
