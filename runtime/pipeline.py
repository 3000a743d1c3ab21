"""From chat messages to text and speech: the whole model, stage after stage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from runtime import dit
from runtime.backend import Backend, Graph, run_once
from runtime.bundle import CHAT_TEMPLATE, TOKENIZER, Bundle
from runtime.contract import Array
from runtime.decoder import Context, Decoder
from runtime.encoders import AudioEncoder, VisionEncoder
from runtime.errors import OmnijetError
from runtime.facts import PreprocessorFacts
from runtime.messages import parse_messages
from runtime.ort import OrtBackend
from runtime.prompt import Prompt, build_prompt
from runtime.sampling import Sampler, Sampling
from runtime.talker import TALKER_SAMPLING, Talker
from runtime.thinker import Thinker, ThinkerPrefill
from runtime.tmrope import tmrope_positions
from runtime.tokenizer import Tokenizer

T = TypeVar("T")

SAMPLE_RATE_HZ = 24_000
MAX_TEXT_TOKENS = 1024
MAX_CODES = 4096  # with the last draw dropped, 81.9 s of speech

StageReport = Callable[[str, int, int], None]
"""Told (stage, steps done, steps in all or 0 if unknown)."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Microseconds of each step of a decoding stage: in all, and inside the graph call.
    The difference is what the host costs."""

    total_us: list[float] = field(default_factory=list)
    graph_us: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reply:
    """What one turn produced.

    Attributes:
        text: the reply without special tokens.
        text_ids: generated ids, the end token included.
        codes: codec tokens, 50 a second.
        audio: f32[samples] in [-1, 1]; empty without speech.
        mel: f32[80, frames] log-mel of the speech, 100 frames a second.
        prompt_tokens: tokens fed before the first generated one.
        timings_ms: time of each stage that ran.
        steps: of each decoding stage, what every step took.
    """

    text: str
    text_ids: list[int]
    codes: list[int]
    audio: Array
    sample_rate_hz: int
    mel: Array
    prompt_tokens: int
    voice: str | None
    seed: int
    timings_ms: dict[str, float]
    steps: dict[str, StepTimes] = field(default_factory=dict)


class Omni:
    """A bundle ready to answer. Graphs are loaded when a stage first needs them.

    Use `Omni.open`, or `omnijet.load`.
    """

    def __init__(self, bundle: Bundle, backend: Backend, context_limit: int | None = None) -> None:
        self.bundle = bundle
        self.backend = backend
        self.dims = bundle.manifest.dims
        self.context_limit = self.dims.thinker.max_positions
        if context_limit is not None:
            self.context_limit = _whole(context_limit, "context_limit", 1)
        self.facts = PreprocessorFacts.from_json(bundle.manifest.preprocessor)
        self.tokenizer = Tokenizer(bundle.folder / TOKENIZER)
        self.chat_template = bundle.text(CHAT_TEMPLATE)
        self._graphs: dict[str, Graph] = {}

    @staticmethod
    def open(
        bundle: str | os.PathLike[str],
        *,
        backend: Backend | None = None,
        context_limit: int | None = None,
    ) -> Omni:
        """Opens a bundle.

        Args:
            bundle: its folder.
            backend: ONNX Runtime on the CPU by default.
            context_limit: rows of the KV caches; the model's own limit by default.

        Raises:
            OmnijetError: the folder is no bundle, or is damaged.
        """
        opened = Bundle.open(os.fspath(bundle))
        return Omni(opened, backend or OrtBackend(), context_limit)

    def generate(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        voice: str | None = None,
        speech: bool = True,
        use_audio_in_video: bool = True,
        greedy: bool = False,
        seed: int | None = None,
        max_text_tokens: int = MAX_TEXT_TOKENS,
        max_codes: int = MAX_CODES,
        talker_sampling: Sampling = TALKER_SAMPLING,
        report: StageReport | None = None,
    ) -> Reply:
        """Answers a conversation.

        Args:
            messages: the chat format of the HF processor; media in any turn.
            voice: speaker name; Chelsie by default, as in the reference.
            speech: False stops after the text.
            use_audio_in_video: hear the sound of clips, interleaved with their picture.
            greedy: the Talker takes the most likely code too (the Thinker always does);
                repetition penalty and suppression stay.
            seed: of the Talker's draws and the DiT's noise; drawn if None.
            max_text_tokens, max_codes: limits; as in the reference the last drawn code is
                dropped even at the limit.
            report: told of progress.

        Raises:
            OmnijetError: unusable media or messages, an unknown voice, a prompt that does
                not fit the cache.
        """
        turn = _Turn(report)
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        seed = _whole(seed, "seed", 0)
        _whole(max_text_tokens, "max_text_tokens", 1)
        _whole(max_codes, "max_codes", 1)
        voice_name, voice_token = self.bundle.voice_id(voice)
        with turn.stage("preprocess"):
            prompt = build_prompt(
                parse_messages(messages),
                self.tokenizer,
                self.dims.tokens,
                self.facts,
                use_audio_in_video=use_audio_in_video,
                chat_template=self.chat_template,
            )
        self._require_room(prompt.input_ids.size, speech)
        with turn.stage("load"):
            self.load(
                hearing=bool(prompt.audios),
                sight=bool(prompt.images or prompt.videos),
                speech=speech,
            )
        embeds = self._embed(prompt, turn)
        prefill = self._prefill(prompt, embeds, turn)
        text_ids, reply_rows = self._write(prefill, max_text_tokens, turn)
        codes: list[int] = []
        mel = np.empty((self.dims.dit.mel, 0), np.float32)
        audio = np.empty(0, np.float32)
        if speech and reply_rows:  # a reply of one token has no row for the Talker to start on
            settings = talker_sampling.made_greedy() if greedy else talker_sampling
            codes = self._speak(
                prompt, embeds, prefill, text_ids, reply_rows, voice_token, settings,
                np.random.default_rng(seed), max_codes, turn,
            )  # fmt: skip
        if codes:
            mel = self._mel(codes, voice_name, seed, turn)
            audio = self._wave(mel, turn)
        return Reply(
            text=self.tokenizer.decode(text_ids),
            text_ids=text_ids,
            codes=codes,
            audio=audio,
            sample_rate_hz=SAMPLE_RATE_HZ,
            mel=mel,
            prompt_tokens=prompt.input_ids.size,
            voice=voice_name if speech else None,
            seed=seed,
            timings_ms=turn.timings_ms,
            steps=turn.steps,
        )

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
        return self._mel(list(codes), name, seed, _Turn(None))

    def wave_of(self, mel: Array) -> Array:
        """Log-mel f32[80, frames] to sound f32[240 * frames] at 24 kHz."""
        return self._wave(np.ascontiguousarray(mel, np.float32), _Turn(None))

    # -- stages ---------------------------------------------------------------------

    def _embed(self, prompt: Prompt, turn: _Turn) -> Array:
        """Encodes the media and merges them: f32[prompt, hidden]."""
        features: dict[int, Array] = {}
        tokens = self.dims.tokens
        if prompt.audios:
            with turn.stage("audio_encoder"):
                features[tokens.audio] = self._ears.encode(prompt.audios)
        with turn.stage("vision_encoder", when=bool(prompt.images or prompt.videos)):
            for token, media in ((tokens.image, prompt.images), (tokens.video, prompt.videos)):
                if media:
                    parts = [self._eyes.encode(item.patches, item.grid) for item in media]
                    features[token] = np.concatenate(parts)
        return self._thinker.merge(prompt.input_ids, features)

    def _prefill(self, prompt: Prompt, embeds: Array, turn: _Turn) -> ThinkerPrefill:
        positions, delta = self._positions(prompt, prompt.input_ids)
        with turn.stage("thinker_prefill"):
            return self._thinker.prefill(embeds, positions, delta)

    def _write(
        self, prefill: ThinkerPrefill, max_tokens: int, turn: _Turn
    ) -> tuple[list[int], list[Array]]:
        """The Thinker's reply: ids, and a row for the Talker per fed token."""
        sampler = Sampler(Sampling(), self.dims.thinker.vocab, (), np.random.default_rng(0))
        ids: list[int] = []
        rows: list[Array] = []
        steps = self._thinker.generate(prefill, sampler, max_tokens)
        for step in turn.timed("thinker_decode", prefill.context, steps):
            ids.append(step.token)
            if step.reply_row is not None:
                rows.append(step.reply_row)
        return ids, rows

    def _speak(
        self,
        prompt: Prompt,
        embeds: Array,
        prefill: ThinkerPrefill,
        text_ids: list[int],
        reply_rows: list[Array],
        voice_token: int,
        sampling: Sampling,
        rng: np.random.Generator,
        max_codes: int,
        turn: _Turn,
    ) -> list[int]:
        """The Talker's codec tokens."""
        talker = self._talker
        ids = np.append(prompt.input_ids, [voice_token, text_ids[0]])
        positions, delta = self._positions(prompt, ids)
        with turn.stage("talker_prefill"):
            rows = talker.prompt_rows(
                embeds, prefill.hidden, prompt.input_ids, voice_token, reply_rows[0]
            )
            context, logits = talker.prefill(rows, positions)
        suppressed = replace(sampling, suppress=(*sampling.suppress, self.dims.codec.bos))
        sampler = talker.sampler(suppressed, len(prompt.input_ids), rng)
        stream = talker.text_stream(reply_rows)
        steps = talker.generate(context, logits, stream, delta, sampler, max_codes)
        return list(turn.timed("talker_decode", context, steps))

    def _mel(self, codes: list[int], voice: str, seed: int, turn: _Turn) -> Array:
        """f32[80, frames]."""
        frames = len(codes) * self.dims.dit.repeats
        shape = (frames, self.dims.dit.mel)
        noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        with turn.stage("dit"):
            mel: Array = dit.synthesize(
                self._graph("dit_step"),
                self._dit_tables,
                np.array(codes),
                self.bundle.table(f"voice_{voice}"),
                noise,
                report=lambda done, total: turn.report("dit", done, total),
            )
        spoken: Array = mel[0]
        return spoken

    def _wave(self, mel: Array, turn: _Turn) -> Array:
        """f32[samples]."""
        with turn.stage("vocoder"):
            graph = self._graph("vocoder")
            wave: Array = run_once(graph, {"frames": mel.shape[1]}, {"mel": mel[None]})["wave"][0]
            return wave

    # -- parts ----------------------------------------------------------------------

    def _positions(self, prompt: Prompt, ids: Array) -> tuple[Array, int]:
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

    def _require_room(self, prompt: int, speech: bool) -> None:
        """Before any work: the prompt and at least one step fit the caches."""
        needed = prompt + 3 if speech else prompt + 1  # the Talker reads two rows more
        if needed > self.context_limit:
            raise OmnijetError(
                "the prompt does not fit the KV cache",
                where="messages",
                expected=f"at most {self.context_limit - needed + prompt} tokens of prompt "
                f"in a context of {self.context_limit}",
                got=f"{prompt} tokens",
                fix="shorten the conversation, or use smaller pictures and shorter clips",
            )

    def _graph(self, name: str) -> Graph:
        if name not in self._graphs:
            contract = self.bundle.manifest.contracts[name]
            self._graphs[name] = self.backend.load(self.bundle.graph(name), contract)
        return self._graphs[name]

    def _embedding(self, part: str) -> Array:
        """A mapped table as a plain array: taking a row of numpy's memmap costs 5 µs more."""
        return np.asarray(self.bundle.table(f"{part}_embedding"))

    @cached_property
    def _ears(self) -> AudioEncoder:
        return AudioEncoder(self._graph("audio_encoder"), self.dims.audio)

    @cached_property
    def _eyes(self) -> VisionEncoder:
        return VisionEncoder(self._graph("vision_encoder"), self.dims.vision)

    @cached_property
    def _thinker(self) -> Thinker:
        decoder = Decoder(self._graph("thinker_step"), self.dims.thinker, self.context_limit)
        return Thinker(decoder, self._embedding("thinker"), self.dims.tokens)

    @cached_property
    def _talker(self) -> Talker:
        decoder = Decoder(self._graph("talker_step"), self.dims.talker, self.context_limit)
        return Talker(
            decoder,
            self._embedding("talker"),
            self._embedding("thinker"),
            self.dims.tokens,
            self.dims.codec,
        )

    @cached_property
    def _dit_tables(self) -> dit.DitTables:
        return dit.DitTables.load(self.bundle.table, self.dims.dit)


def _whole(value: int, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OmnijetError(
            f"{name} is unusable", expected=f"a whole number from {least}", got=repr(value)
        )
    return int(value)


class _Turn:
    """One turn's clock and progress."""

    def __init__(self, report: StageReport | None) -> None:
        self._report = report
        self.timings_ms: dict[str, float] = {}
        self.steps: dict[str, StepTimes] = {}

    @contextmanager
    def stage(self, name: str, when: bool = True) -> Iterator[None]:
        if when:
            self.report(name, 0, 0)
        began = time.perf_counter()
        yield
        if when:
            self.timings_ms[name] = 1e3 * (time.perf_counter() - began)

    def timed(self, name: str, context: Context, steps: Iterator[T]) -> Iterator[T]:
        """Passes the steps of a decoding stage on, and times each."""
        times = self.steps[name] = StepTimes()
        with self.stage(name):
            began, in_graph = time.perf_counter(), context.graph_seconds
            for done, step in enumerate(steps, start=1):
                now = time.perf_counter()
                times.total_us.append(1e6 * (now - began))
                times.graph_us.append(1e6 * (context.graph_seconds - in_graph))
                yield step
                self.report(name, done, 0)
                began, in_graph = time.perf_counter(), context.graph_seconds

    def report(self, stage: str, done: int, total: int) -> None:
        if self._report is not None:
            self._report(stage, done, total)
