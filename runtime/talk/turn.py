"""One turn: from messages to the text, codec tokens and sound of the reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np

from omnijet.runtime.backends.ticket import TICKET
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.cancel import Cancelled, Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.decoder import Ending
from omnijet.runtime.model.drafts import Drafts
from omnijet.runtime.model.finite import NotFinite
from omnijet.runtime.model.lookup import UNKNOWN, Lookup
from omnijet.runtime.model.rope import decode_position
from omnijet.runtime.model.sampling import Sampler
from omnijet.runtime.model.talker import prompt_rows
from omnijet.runtime.model.thinker import TextStep, ThinkerPrefill
from omnijet.runtime.prompt.fitting import fit
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.prompt.plain import made_plain
from omnijet.runtime.prompt.system import MODIFIED, is_for_speech
from omnijet.runtime.speech.presets import SpeechPreset
from omnijet.runtime.speech.synthesis import Synthesis
from omnijet.runtime.talk.cause import explained
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.draft import Draft, kept_ids, written
from omnijet.runtime.talk.heard import Playback, SpokenReply, loudness_of
from omnijet.runtime.talk.interleave import interleave
from omnijet.runtime.talk.memory import Memory
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.reply import FinishReason, PcmChunk, Reply
from omnijet.runtime.talk.text_feed import TextFeed

SAMPLE_RATE_HZ = 24_000
KEPT_FREE = 0.25  # of the context, for the reply, when the oldest turns may go

Overflow = Literal["error", "drop oldest"]
"""What happens to a conversation that outgrows the KV cache."""


@dataclass(slots=True)
class Turn:
    """What is known of a turn so far.

    Attributes:
        options: with `speech` settled.
        voice, voice_token: who speaks; None in a bundle without a voice.
        memory: what earlier turns fed; this one goes on from there.
        overflow, dropped: what to do if the conversation does not fit, and which of its oldest
            messages were left out.
        prompt_ids: i64[tokens] once the prompt is laid out.
        reused_tokens: how many of them the memory held already.
        text_ids, codes: what has been written and said.
        fed_tokens, text_steps: how many of the tokens were fed, and in how many calls.
        text_end, speech_end: how text and speech ended, once they have.
        loudness: of the sound that was made, piece by piece.
        playback: how much of it was heard.
        is_finished: whether all text and sound was made.
        has_failed: whether an error ended it.
    """

    model: Model
    options: Options
    clock: Clock
    check: Check
    voice: str | None
    voice_token: int | None
    memory: Memory
    overflow: Overflow = "error"
    dropped: tuple[Message, ...] = ()
    prompt_ids: Array = field(default_factory=lambda: np.empty(0, np.int64))
    reused_tokens: int = 0
    text_ids: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    fed_tokens: int = 0
    text_steps: int = 0
    text_end: Ending | None = None
    speech_end: Ending | None = None
    loudness: list[Array] = field(default_factory=list)
    playback: Playback = field(default_factory=Playback)
    is_finished: bool = False
    has_failed: bool = False

    @staticmethod
    def of(
        model: Model,
        options: Options,
        clock: Clock,
        *,
        memory: Memory | None = None,
        check: Check = never,
        overflow: Overflow = "error",
    ) -> Turn:
        """Returns a turn that is ready to run.

        Raises:
            OmnijetError: there is no such voice, the bundle has none although speech is asked for,
                guesses are asked for and cannot be checked, or the model was closed, or files of it
                were edited.
        """
        model.require_usable()
        if options.lookup:
            model.require_picks()
        bundle, asked = model.bundle, options.speech
        if asked is None and options.voice is not None:
            asked = True
        options = replace(options, speech=bundle.speaks(asked))
        name, token = bundle.voice_id(options.voice) if model.dims.has_voice else (None, None)
        known = Memory() if memory is None else memory
        return Turn(model, options, clock, check, name, token, known, overflow)

    def events(self, messages: Sequence[Message]) -> Iterator[TextStep | int]:
        """Runs the turn: yields text steps and codec tokens as they come."""
        try:
            with explained(self.model.bundle):
                yield from self._events(messages)
        except (Cancelled, GeneratorExit):
            raise
        except NotFinite:
            self.has_failed = True
            self.memory.clear()
            raise
        except BaseException:
            self.has_failed = True
            raise

    def _events(self, messages: Sequence[Message]) -> Iterator[TextStep | int]:
        if self.options.speech and not is_for_speech(messages):
            self.model.warn_once(MODIFIED)
        fed = self._feed(messages)
        prompt = fed.prompt
        draft = Draft(self.model.tokenizer, self.options) if self.options.has_markers else None
        text = self._written(fed, draft)

        def speak(first: int, row: Array, following: Iterator[Array]) -> Iterator[int]:
            return self._spoken(prompt, row, following)

        for event in interleave(text, speak if self.options.speech else None, draft):
            if isinstance(event, TextStep):
                self.text_ids.append(event.token)
                self.clock.mark("first_text")
            else:
                self.codes.append(event)
                self.clock.mark("first_code")
            yield event

    def answer(self, messages: Sequence[Message]) -> Reply:
        """Runs the turn to its end; the speech is made in one piece."""
        for _ in self.events(messages):
            pass
        if not self.codes:
            self.is_finished = True
            return self.reply(np.empty(0, np.float32), finish_reason=self.ending)
        assert self.options.seed is not None and self.voice is not None
        mel = self.model.mel_of(self.codes, self.voice, self.options.seed, self.clock)
        audio = self.model.wave_of(mel, self.clock)
        self.clock.mark("first_pcm")
        self.loudness.append(loudness_of(audio))
        self.playback.taken, self.is_finished = audio.size, True
        return self.reply(audio, mel, self.ending)

    def listen(self, messages: Sequence[Message]) -> None:
        """Feeds a conversation up to the end of the sound that it ends in."""
        try:
            with explained(self.model.bundle):
                self._feed(messages, to_last_sound=True)
        except NotFinite:
            self.memory.clear()
            raise

    def sound(self, batches: Iterator[list[int]], preset: SpeechPreset) -> Iterator[PcmChunk]:
        """Makes sound of codec tokens as they come in batches."""
        seed = self.options.seed
        assert seed is not None
        synthesis: Synthesis | None = None
        start = 0
        for codes in chain(batches, [None]):
            if synthesis is None:
                if not codes:  # nothing is said
                    return
                assert self.voice is not None
                synthesis = self.model.synthesis(self.voice, seed, preset, self.clock)
            last = codes is None
            pieces = synthesis.push(codes or (), last, self.check)
            while synthesis.has_piece(last):
                if (samples := self.model.next_piece(pieces)) is None:
                    break
                self.clock.mark("first_pcm")
                if (ticket := TICKET.get()) is not None:
                    ticket.sounded(samples.size / SAMPLE_RATE_HZ)
                self.loudness.append(loudness_of(samples))
                yield PcmChunk(samples, start, SAMPLE_RATE_HZ)
                start += samples.size

    def spoken(self) -> SpokenReply:
        """Returns what is remembered of the text, beside the sound that was made of it."""
        loudness = np.concatenate([np.empty(0, np.float32), *self.loudness])
        is_whole = self.text_end is not None
        text = written(self.model.tokenizer, self.text_ids, self.options, is_whole=is_whole)
        unspoken = text.unspoken if is_whole else ""
        spoken, unspoken = (
            made_plain(one, self.model.tokenizer) for one in (text.spoken, unspoken)
        )
        return SpokenReply(spoken, loudness, self.is_finished, unspoken)

    @property
    def text(self) -> str:
        """What was written and is certain to be no part of a stop string."""
        is_whole = self.text_end is not None
        return "".join(
            written(self.model.tokenizer, self.text_ids, self.options, is_whole=is_whole)
        )

    def text_feed(self) -> TextFeed:
        """Returns what makes text of the reply's tokens as they come."""
        tokenizer, stop, unspoken = self.model.tokenizer, self.options.stop, self.options.unspoken
        return TextFeed(tokenizer, stop, kept_ids(tokenizer, (*stop, *unspoken)))

    @property
    def cuts(self) -> tuple[FinishReason, ...]:
        """What cut text and speech short, see `Reply.cuts`."""
        found: list[FinishReason] = []
        if self.text_end == "limit":
            found.append("length")
        if "context" in (self.text_end, self.speech_end):
            found.append("context")
        if self.speech_end == "limit":
            found.append("codes")
        return tuple(found)

    @property
    def ending(self) -> FinishReason:
        """Why a turn that has run to its end ended there."""
        return self.cuts[0] if self.cuts else "stop"

    def reply(
        self, audio: Array, mel: Array | None = None, finish_reason: FinishReason | None = None
    ) -> Reply:
        """Returns what came of the turn so far, with f32[samples] and f32[80, frames]."""
        options, clock = self.options, self.clock
        assert options.seed is not None
        if mel is None:
            speech = self.model.dims.speech
            mel = np.empty((speech.dit.mel if speech else 0, 0), np.float32)
        return Reply(
            text=self.text,
            text_ids=self.text_ids,
            codes=self.codes,
            audio=audio,
            sample_rate_hz=SAMPLE_RATE_HZ,
            mel=mel,
            prompt_tokens=self.prompt_ids.size,
            voice=self.voice if options.speech else None,
            seed=options.seed,
            timings_ms=clock.timings_ms,
            latency_ms=clock.latency_ms,
            steps=clock.steps,
            spans=clock.spans,
            finish_reason=finish_reason,
            cuts=self.cuts,
            prompt_ids=self.prompt_ids,
            reused_tokens=self.reused_tokens,
            tokens_per_step=self.fed_tokens / self.text_steps if self.text_steps else 1.0,
        )

    def _lay_out(self, messages: Sequence[Message]) -> Prompt:
        model, limit = self.model, self.model.context_limit
        with self.clock.stage("preprocess"):
            prompt = self._prompt(messages)
            if self.overflow == "drop oldest" and self._is_tight(prompt):
                prompt = self._shortened(messages, prompt)
            if self._needed(prompt) > limit and not self.options.strict_size:
                prompt = self._fitted(messages, prompt)
        self.prompt_ids = prompt.input_ids
        needed = self._needed(prompt)
        if needed > limit:
            raise _no_room(prompt.input_ids.size, needed, limit)
        with self.clock.stage("load"):
            model.load(
                hearing=bool(prompt.sounds),
                sight=bool(prompt.images or prompt.videos),
                speech=self.options.speech,
                check=self.check,
            )
        return prompt

    def _prompt(self, messages: Sequence[Message]) -> Prompt:
        self.check()  # media take their time
        return self.model.prompt(
            messages,
            use_audio_in_video=self.options.use_audio_in_video,
            check=self.check,
            report=lambda done, total: self.clock.report("preprocess", done, total),
            wishes=self.options.sizing,
            strict_size=self.options.strict_size,
        )

    def _fitted(self, messages: Sequence[Message], prompt: Prompt) -> Prompt:
        """Lays the conversation out with smaller pictures and clips, if there are new ones."""
        model, gone = self.model, {id(message) for message in self.dropped}
        kept = tuple(message for message in messages if id(message) not in gone)
        room = int((1 - KEPT_FREE) * model.context_limit)
        excess = self._needed(prompt) - room
        if not fit(kept, excess, model.preprocessing, model.more_context):
            return prompt
        return self._prompt(kept)

    def _shortened(self, messages: Sequence[Message], prompt: Prompt) -> Prompt:
        """Drops the fewest of the oldest questions and answers that must go.

        At worst the last question is alone.
        """
        questions = sum(message.role == "user" for message in messages)
        if questions < 2:
            return prompt
        made: dict[int, Prompt] = {}
        low, high = 1, questions - 1
        count = low  # one is often enough; then by halves
        while low < high:
            made[count] = self._prompt(_without_oldest(messages, count))
            low, high = (count + 1, high) if self._is_tight(made[count]) else (low, count)
            count = (low + high) // 2
        shorter = _without_oldest(messages, low)
        kept = {id(message) for message in shorter}
        self.dropped = tuple(message for message in messages if id(message) not in kept)
        return made[low] if low in made else self._prompt(shorter)

    def _needed(self, prompt: Prompt) -> int:
        """Returns the rows of the caches that a prompt takes; the Talker reads two more."""
        return prompt.input_ids.size + (3 if self.options.speech else 1)

    def _is_tight(self, prompt: Prompt) -> bool:
        return self._needed(prompt) > (1 - KEPT_FREE) * self.model.context_limit

    def _feed(self, messages: Sequence[Message], to_last_sound: bool = False) -> _Fed:
        """Prefills what the memory does not hold yet."""
        model, memory = self.model, self.memory
        prompt = self._lay_out(messages)
        positions, fingerprints = prompt.positions, prompt.fingerprints
        known = self.reused_tokens = memory.recall(fingerprints, positions)
        stop = int(prompt.shares[-1].rows[-1]) + 1 if to_last_sound else fingerprints.size
        if stop <= known:
            return _Fed(prompt, None)
        embeds = model.embed(prompt, known, stop, self.clock, self.check)
        if memory.thinker is None:
            memory.thinker = model.thinker.decoder.start(stop)
        context = memory.thinker
        context.rewind(known)
        context.check = self.check
        with self.clock.stage("thinker_prefill"):
            prefill = model.thinker.prefill(context, embeds, positions[:, known:stop], prompt.delta)
        rows = None
        if model.dims.has_voice:  # the Talker may read them now or in a later turn
            rows = prompt_rows(embeds, prefill.hidden, prompt.is_encoded[known:stop])
        memory.learn(fingerprints[known:stop], positions[:, known:stop], rows)
        return _Fed(prompt, prefill)

    def _written(self, fed: _Fed, draft: Draft | None) -> Iterator[TextStep]:
        """Yields the Thinker's steps up to a stop string, and notes how they ended."""
        prefill, memory = fed.prefill, self.memory
        assert prefill is not None
        sampling = self.options.text_sampling
        # as in the reference, the prompt's ids count, those that stand for media too
        counts = sampling.repetition_penalty != 1.0
        history = np.unique(fed.prompt.input_ids).tolist() if counts else ()
        sampler = Sampler(
            sampling, self.model.dims.thinker.vocab, history,
            np.random.default_rng(self.options.seed),
            self.model.tokenizer.encode(self.options.begin),
        )  # fmt: skip
        steps = self.model.thinker.generate(
            prefill, sampler, self.options.max_text_tokens, self._drafts(fed.prompt, sampler)
        )
        timed = self.clock.timed("thinker_decode", prefill.context, steps)
        while True:
            try:
                step = next(timed)
            except StopIteration as end:
                self.text_end = end.value
                if draft is not None:
                    draft.finish()
                return
            self.text_steps = prefill.context.decoded
            if step.reply_row is not None:
                self.fed_tokens += 1
                position = decode_position(len(memory), prefill.delta)
                row = step.reply_row if self.model.dims.has_voice else None
                memory.write(step.token, position, row)
            if draft is not None:
                draft.push(step.token)
            yield step
            if draft is not None and draft.is_stopped:
                self.text_end = "stop"
                return

    def _drafts(self, prompt: Prompt, sampler: Sampler) -> Drafts | None:
        """Returns what guesses the reply's tokens; None: nothing does."""
        thinker, asked = self.model.thinker, self.options.lookup
        if asked is False or thinker.decoder.step_rows < 2:
            return None
        ids = np.where(prompt.is_encoded, UNKNOWN, prompt.input_ids)
        lookup = Lookup(ids, frozenset(self.model.dims.tokens.eos))
        return Drafts(lookup, None if asked else thinker.pace, list(sampler.first))

    def _spoken(self, prompt: Prompt, row: Array, following: Iterator[Array]) -> Iterator[int]:
        """Yields the Talker's codec tokens, and notes how they ended."""
        talker, memory = self.model.talker, self.memory
        length = prompt.input_ids.size
        positions, delta = prompt.positions_with(2)  # the speaker's mark and the first token
        if memory.talker is None:
            memory.talker = talker.decoder.start(length + 2)
        context, known = memory.talker, memory.prefilled_rows
        context.rewind(known)
        context.check = self.check
        assert memory.rows is not None and self.voice_token is not None
        rows = np.concatenate(
            [memory.rows[known:length], talker.opening_rows(self.voice_token, row)]
        )
        with self.clock.stage("talker_prefill"):
            logits = talker.prefill(context, rows, positions[:, known:])
        memory.prefilled_rows = length
        sampling = self.options.sampling
        suppress = (*sampling.suppress, self.model.dims.codec.bos)
        sampler = talker.sampler(
            replace(sampling, suppress=suppress), length, np.random.default_rng(self.options.seed)
        )
        steps = talker.generate(
            context, logits, chain(following, talker.end_marks()), delta, sampler,
            self.options.max_codes,
        )  # fmt: skip
        self.speech_end = yield from self.clock.timed("talker_decode", context, steps)


class _Fed(NamedTuple):
    """A prompt in the Thinker's cache; no prefill if all of it was there already."""

    prompt: Prompt
    prefill: ThinkerPrefill | None


def _without_oldest(messages: Sequence[Message], count: int) -> tuple[Message, ...]:
    """Leaves out so many of the oldest questions and their answers."""
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
