"""One turn: from messages to the text and codec tokens of the reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.sampling import Sampler
from omnijet.runtime.model.talker import prompt_rows
from omnijet.runtime.model.thinker import TextStep, ThinkerPrefill
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.media_rows import Medium, media_rows
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.prompt.tmrope import decode_position
from omnijet.runtime.speech.synthesis import SpeechPreset, Synthesis
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.interleave import interleave
from omnijet.runtime.talk.memory import Memory
from omnijet.runtime.talk.memory import marks as row_marks
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.reply import PcmChunk, Reply

if TYPE_CHECKING:
    from omnijet.runtime.omni import Omni

SAMPLE_RATE_HZ = 24_000
KEPT_FREE = 0.25  # of the context, for the reply, when the oldest turns may go

Overflow = Literal["error", "drop oldest"]
"""What happens to a conversation that outgrows the KV cache."""

Check = Callable[[], None]
"""Called before every graph call; raises to end the turn."""


def never() -> None:
    """The check of a turn that nothing ends early."""


@dataclass(slots=True)
class Turn:
    """What is known of a turn so far.

    Attributes:
        voice, voice_token: who speaks.
        memory: what earlier turns fed; this one goes on from there.
        overflow, dropped: what to do if the conversation does not fit, and how many of its
            oldest messages were left out.
        prompt_tokens: once the prompt is laid out.
        text_ids, codes: what has been written and said.
    """

    omni: Omni
    options: Options
    clock: Clock
    check: Check
    voice: str
    voice_token: int
    memory: Memory
    overflow: Overflow = "error"
    dropped: int = 0
    prompt_tokens: int = 0
    text_ids: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def events(self, messages: Sequence[Message]) -> Iterator[TextStep | int]:
        """Runs the turn: text steps and codec tokens as they come."""
        fed = self._feed(messages)
        prompt = fed.prompt
        text = self._written(fed)

        def speak(first: int, row: Array, following: Iterator[Array]) -> Iterator[int]:
            return self._spoken(prompt, first, row, following)

        for event in interleave(text, speak if self.options.speech else None):
            if isinstance(event, TextStep):
                self.text_ids.append(event.token)
                self.clock.mark("first_text")
            else:
                self.codes.append(event)
                self.clock.mark("first_code")
            yield event

    def listen(self, messages: Sequence[Message], sound_tokens: int) -> None:
        """Feeds a conversation that ends in a sound which goes on: all up to `sound_tokens`
        of it."""
        self._feed(messages, sound_tokens)

    def sound(self, batches: Iterator[list[int]], preset: SpeechPreset) -> Iterator[PcmChunk]:
        """What codec tokens sound like, as they come in batches."""
        seed = self.options.seed
        assert seed is not None
        synthesis: Synthesis | None = None
        start = 0
        for codes in chain(batches, [None]):
            if synthesis is None:
                if not codes:  # nothing is said
                    return
                synthesis = self.omni.synthesis(self.voice, seed, preset, self.clock)
            pieces = synthesis.push(codes or (), last=codes is None, check=self.check)
            while (samples := self._next_piece(pieces)) is not None:
                self.clock.mark("first_pcm")
                yield PcmChunk(samples, start, SAMPLE_RATE_HZ)
                start += samples.size

    def _next_piece(self, pieces: Iterator[Array]) -> Array | None:
        """One window's worth; the model's buffers are used by one utterance at a time."""
        with self.omni.speaking:
            return next(pieces, None)

    def reply(self, audio: Array, mel: Array | None = None) -> Reply:
        """What came of it so far; f32[samples], f32[80, frames]."""
        options, clock = self.options, self.clock
        assert options.seed is not None
        if mel is None:
            mel = np.empty((self.omni.dims.dit.mel, 0), np.float32)
        return Reply(
            text=self.omni.tokenizer.decode(self.text_ids),
            text_ids=self.text_ids,
            codes=self.codes,
            audio=audio,
            sample_rate_hz=SAMPLE_RATE_HZ,
            mel=mel,
            prompt_tokens=self.prompt_tokens,
            voice=self.voice if options.speech else None,
            seed=options.seed,
            timings_ms=clock.timings_ms,
            latency_ms=clock.latency_ms,
            steps=clock.steps,
            spans=clock.spans,
        )

    def _lay_out(self, messages: Sequence[Message]) -> Prompt:
        omni, speech, limit = self.omni, self.options.speech, self.omni.context_limit
        with self.clock.stage("preprocess"):
            prompt = self._prompt(messages)
            if self.overflow == "drop oldest" and self._is_tight(prompt):
                prompt = self._shortened(messages, prompt)
        self.prompt_tokens = prompt.input_ids.size
        needed = self._needed(prompt)
        if needed > limit:
            raise _no_room(self.prompt_tokens, needed, limit)
        with self.clock.stage("load"):
            omni.load(
                hearing=bool(prompt.audios),
                sight=bool(prompt.images or prompt.videos),
                speech=speech,
            )
        return prompt

    def _prompt(self, messages: Sequence[Message]) -> Prompt:
        self.check()  # media take their time
        video_sound = self.options.use_audio_in_video
        return self.omni.prompt(messages, use_audio_in_video=video_sound)

    def _shortened(self, messages: Sequence[Message], prompt: Prompt) -> Prompt:
        """Without the fewest of the oldest questions and answers that must go; at worst the
        last question is alone."""
        questions = sum(message.role == "user" for message in messages)
        if questions < 2:
            return prompt
        made: dict[int, Prompt] = {}
        low, high = 1, questions - 1
        count = low  # one is often enough; then by halves, for each try loads all that is left
        while low < high:
            made[count] = self._prompt(_without_oldest(messages, count))
            low, high = (count + 1, high) if self._is_tight(made[count]) else (low, count)
            count = (low + high) // 2
        shorter = _without_oldest(messages, low)
        self.dropped = len(messages) - len(shorter)
        return made[low] if low in made else self._prompt(shorter)

    def _needed(self, prompt: Prompt) -> int:
        """Rows of the caches; the Talker reads two more."""
        return prompt.input_ids.size + (3 if self.options.speech else 1)

    def _is_tight(self, prompt: Prompt) -> bool:
        return self._needed(prompt) > (1 - KEPT_FREE) * self.omni.context_limit

    def _feed(self, messages: Sequence[Message], sound_tokens: int | None = None) -> _Fed:
        """Prefills what the memory does not hold yet."""
        omni, memory = self.omni, self.memory
        prompt = self._lay_out(messages)
        media = media_rows(prompt, omni.dims)
        positions, delta = omni.positions(prompt, prompt.input_ids)
        marks = row_marks(prompt.input_ids, media, omni.dims.audio)
        known = memory.recall(marks, positions)
        stop = marks.size if sound_tokens is None else int(media[-1].rows[sound_tokens - 1]) + 1
        if stop <= known:
            return _Fed(prompt, None)
        ids = prompt.input_ids[known:stop]
        embeds = self._embed(ids, media, known, stop)
        if memory.thinker is None:
            memory.thinker = omni.thinker.decoder.start(stop)
        context = memory.thinker
        context.rewind(known)
        context.check = self.check
        with self.clock.stage("thinker_prefill"):
            prefill = omni.thinker.prefill(context, embeds, positions[:, known:stop], delta)
        rows = prompt_rows(embeds, prefill.hidden, ids, omni.dims.tokens)
        memory.learn(marks[known:stop], positions[:, known:stop], rows)
        return _Fed(prompt, prefill)

    def _embed(self, ids: Array, media: Sequence[Medium], known: int, stop: int) -> Array:
        """Rows `known` to `stop` with the media in them merged in: f32[n, hidden]."""
        features: dict[int, list[Array]] = {}
        for medium in media:
            wanted = (medium.rows >= known) & (medium.rows < stop)
            if not wanted.any():
                continue
            if medium.grid is None:
                with self.clock.stage("audio_encoder"):
                    made = self._hear(medium, wanted)
            else:
                with self.clock.stage("vision_encoder"):
                    made = self.omni.eyes.encode(medium.content, medium.grid, self.check)[wanted]
            features.setdefault(medium.token, []).append(made)
        return self.omni.thinker.merge(
            ids, {token: np.concatenate(parts) for token, parts in features.items()}
        )

    def _hear(self, sound: Medium, wanted: Array) -> Array:
        """The wanted tokens of a sound; its 2 s blocks do not depend on each other, so those
        before the first stay unheard."""
        audio = self.omni.dims.audio
        block = int(wanted.argmax()) // audio.chunk_tokens
        rest = sound.content[:, block * audio.chunk_frames :]
        return self.omni.ears.encode([rest], self.check)[wanted[block * audio.chunk_tokens :]]

    def _written(self, fed: _Fed) -> Iterator[TextStep]:
        """The Thinker's steps."""
        prefill, memory = fed.prefill, self.memory
        assert prefill is not None
        sampler = Sampler(
            self.options.thinker_sampling, self.omni.dims.thinker.vocab, (),
            np.random.default_rng(self.options.seed),
        )  # fmt: skip
        steps = self.omni.thinker.generate(prefill, sampler, self.options.max_text_tokens)
        for step in self.clock.timed("thinker_decode", prefill.context, steps):
            if step.reply_row is not None:
                position = decode_position(len(memory), prefill.delta)
                memory.write(step.token, position, step.reply_row)
            yield step

    def _spoken(
        self, prompt: Prompt, first: int, row: Array, following: Iterator[Array]
    ) -> Iterator[int]:
        """The Talker's codec tokens."""
        talker, memory = self.omni.talker, self.memory
        length = prompt.input_ids.size
        ids = np.append(prompt.input_ids, [self.voice_token, first])
        positions, delta = self.omni.positions(prompt, ids)
        if memory.talker is None:
            memory.talker = talker.decoder.start(length + 2)
        context, prefilled = memory.talker, memory.prefilled_rows
        context.rewind(prefilled)
        context.check = self.check
        assert memory.rows is not None
        rows = np.concatenate(
            [memory.rows[prefilled:length], talker.opening_rows(self.voice_token, row)]
        )
        with self.clock.stage("talker_prefill"):
            logits = talker.prefill(context, rows, positions[:, prefilled:])
        memory.prefilled_rows = length
        sampling = self.options.sampling
        suppress = (*sampling.suppress, self.omni.dims.codec.bos)
        sampler = talker.sampler(
            replace(sampling, suppress=suppress), length, np.random.default_rng(self.options.seed)
        )
        steps = talker.generate(
            context, logits, chain(following, talker.end_marks()), delta, sampler,
            self.options.max_codes,
        )  # fmt: skip
        return self.clock.timed("talker_decode", context, steps)


class _Fed(NamedTuple):
    """A prompt in the Thinker's cache; no prefill if all of it was there already."""

    prompt: Prompt
    prefill: ThinkerPrefill | None


def _without_oldest(messages: Sequence[Message], count: int) -> tuple[Message, ...]:
    """Without so many of the oldest questions and their answers."""
    kept = [message for message in messages if message.role == "system"]
    asked = [n for n, message in enumerate(messages) if message.role == "user"]
    return (*kept, *messages[asked[count] :])


def _no_room(prompt: int, needed: int, limit: int) -> OmnijetError:
    return OmnijetError(
        "the prompt does not fit the KV cache",
        where="messages",
        expected=f"at most {limit - needed + prompt} tokens of prompt in a context of {limit}",
        got=f"{prompt} tokens",
        fix="shorten the conversation, or use smaller pictures and shorter clips",
    )
