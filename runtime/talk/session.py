"""A conversation: caches and media stay from turn to turn, only what is new is fed."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.cancel import Cancellation
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.interrupt import interruptible
from omnijet.runtime.media.log_mel import GrowingSound
from omnijet.runtime.prompt.medium import EncoderInput
from omnijet.runtime.prompt.messages import Audio, Message, Part, Text, parse_messages
from omnijet.runtime.prompt.preprocess import grown_medium, sound_medium
from omnijet.runtime.prompt.system import with_system
from omnijet.runtime.speech.presets import speech_preset
from omnijet.runtime.talk.answer import Answer
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.fed_sound import fed_sound
from omnijet.runtime.talk.floor import Floor
from omnijet.runtime.talk.memory import Memory
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.options import Options, whole_number
from omnijet.runtime.talk.reply import Reply
from omnijet.runtime.talk.stream import Stream
from omnijet.runtime.talk.turn import Overflow, Turn
from omnijet.runtime.talk.workers import Workers

Content = str | Sequence[Mapping[str, Any]] | Message

_log = logging.getLogger(__name__)


class Session:
    """One conversation, made by `Omni.session`. A new turn ends a stream that still runs.

    Each medium is opened, preprocessed and encoded once, in its turn; its file may be deleted
    afterwards. What is kept of the media (`media_bytes`) has at most a row of the model's width
    for each token, so the context bounds it. A turn that fails before it says anything is
    forgotten.

    Threads: any thread may call any method. One call runs at a time and the others wait for it, so
    that no turn is lost; only `messages` and `media_bytes` do not wait. After a fork the child
    cannot use it, and is told so.

    Attributes:
        memory: what the model was fed of it.
    """

    def __init__(self, model: Model, system: str | None, overflow: Overflow) -> None:
        if overflow not in ("error", "drop oldest"):
            raise OmnijetError(
                "overflow is unusable", expected="'error' or 'drop oldest'", got=repr(overflow)
            )
        model.birthplace.require_here()
        self.model = model
        self.overflow = overflow
        self._floor = Floor(model.birthplace)
        self._messages = list(with_system((), system, speaks=model.bundle.speaks()))
        self.memory = Memory()
        self._sound = GrowingSound(model.preprocessing)
        self._listened: EncoderInput | None = None  # what was encoded of it
        self._shown: tuple[Part, ...] = ()  # what stands before it
        self._workers: Workers | None = None  # not their stream: who drops that cancels it
        self._changing = threading.RLock()  # another thread may read `messages`
        self._turn: Turn | None = None
        self._question: Message | None = None  # of that turn
        self._hears_clips = True  # as in the last turn
        self._answer: Answer | None = None  # the last one that was spoken
        self._letters_per_second: float | None = None

    @property
    def messages(self) -> list[Message]:
        """Who said what; of a reply that was cut off, the words that had sounded.

        A reply is added when its stream has ended. The list may be edited between turns.
        """
        self.model.birthplace.require_here()
        with self._changing:
            if self._turn is None or (self._workers is not None and self._workers.have_ended):
                self._end_turn()
            return self._messages

    @messages.setter
    def messages(self, messages: list[Message]) -> None:
        with self._floor.taken():
            self._close()
            self._messages = messages

    @property
    def heard(self) -> Array:
        """What `feed_audio` was given for the next turn: f32[samples]."""
        return self._sound.samples

    @property
    def media_bytes(self) -> int:
        """Bytes held of the conversation's media: encoded rows, and inputs not encoded yet.

        Files are not among them, nor is the KV cache.
        """
        parts = [part for message in self.messages for part in message.parts]
        kept = [part.medium for part in parts if not isinstance(part, Text)]
        listened = 0 if self._listened is None else self._listened.nbytes
        return sum(medium.nbytes for medium in kept if medium) + self._sound.nbytes + listened

    def generate(self, content: Content, **options: Any) -> Reply:
        """Answers the user's next words and media, after what was fed as sound before.

        Args:
            content: a string or parts, as of a user's message; or the message itself, with media
                that may have been read before.
            options: those of `Omni.generate`.
        """
        with self._floor.taken():
            turn = self._open(content, Clock(), Cancellation(), options)
            try:
                with interruptible():
                    reply = turn.answer(tuple(self._messages))
            except BaseException:
                self._close(undo=True)  # nobody has anything of the answer
                raise
            self._close()
            return reply

    def stream(self, content: Content, *, preset: str = "exact", **options: Any) -> Stream:
        """Answers as `Omni.stream` does. Cancelling it (barge-in) leaves the session usable.

        It returns at once. The next call of any thread ends a reply that is still being read.
        """
        made, cancellation = speech_preset(preset), Cancellation()
        with self._floor.taken():
            turn = self._open(content, Clock(), cancellation, options)
            try:
                stream = Stream(turn, tuple(self._messages), made, cancellation)
            except BaseException:
                self._close(undo=True)
                raise
            self._workers = stream.workers
            return stream

    def feed_audio(self, samples: Array, *, after: Sequence[Part] = ()) -> None:
        """Listens while the user speaks: what is certain is encoded and prefilled already.

        The sound is the first part of the next turn's message; its ids are those of the
        whole sound given at once. Pieces have any length, none included, and follow each other
        without a gap. Nothing is resampled or mixed. While another thread waits for a reply of
        `generate`, it waits, too.

        Args:
            samples: what came since the last call: int16 (1/32768 is taken as its unit, as of a
                file) or floats in [-1, 1], of shape [n], mono, at the model's rate (16 kHz).
            after: parts of the same message that stand before the sound, as pictures that were
                shown; the same at each call.

        Raises:
            OmnijetError: the samples are of another dtype or shape, not finite or far out of
                range; or the conversation does not fit the cache.
        """
        fed = fed_sound(samples, self.model.preprocessing.sample_rate_hz)
        with self._floor.taken():
            self._shown = tuple(after)
            self._feed(fed)

    def take_sound(self) -> Audio | None:
        """Ends the sound that `feed_audio` was given, and returns it as a part of a message.

        The next turn is without it. A turn whose message begins with the parts that were fed before
        it and then this one, after the same messages as when it was fed, has the ids of the sound
        and goes on from what was prefilled.

        Returns:
            None if nothing was fed.

        Raises:
            OmnijetError: the sound is too short for a token; it is forgotten.
        """
        with self._floor.taken():
            if not self._sound.size:
                return None
            try:
                return self._heard_part()
            finally:
                self._forget_sound()

    def heard_until(self, samples: int) -> None:
        """Cuts the last answer at the words that had sounded when so many samples were played.

        A player that learns only later what was heard says it here; `Stream.cancel` takes the
        same number at once. A reply that still runs is ended.

        Args:
            samples: played of the reply, from its first.

        Raises:
            OmnijetError: `samples` is no whole number from 0, or there was no spoken answer.
        """
        played = whole_number(samples, "samples", 0)
        with self._floor.taken():
            if self._turn is not None:
                self._turn.playback.played = played
                self._close()
                return
            self._close()
            if self._answer is None:
                raise OmnijetError(
                    "there is no spoken answer to cut",
                    expected="a turn with speech before",
                    fix="call it after a reply, and before reset()",
                )
            self._answer = self._answer.cut(self._messages, played, self._letters_per_second)

    def reset(self) -> None:
        """Forgets all but the system prompt."""
        with self._floor.taken():
            self._close()
            self._messages = [message for message in self._messages if message.role == "system"]
            self.memory = Memory()
            self._answer = None
            self._forget_sound()

    def drop_caches(self) -> bool:
        """Lets go of the KV caches, unless a reply is being made; messages and media stay.

        The next turn feeds all of the conversation again and answers the same.

        Returns:
            Whether the caches are gone.
        """
        with self._floor.taken(), self._changing:
            if self._workers is not None and not self._workers.have_ended:
                return False
            self._end_turn()
            self.memory.clear()
            return True

    def fork(self) -> Session:
        """Returns another session that goes on from here; neither hears of the other."""
        with self._floor.taken():
            self._close()
            twin = Session(self.model, None, self.overflow)
            twin._messages, twin.memory = list(self._messages), self.memory.fork()
            twin._sound, twin._listened = copy.copy(self._sound), self._listened
            twin._shown = self._shown
            twin._hears_clips, twin._answer = self._hears_clips, self._answer
            twin._letters_per_second = self._letters_per_second
            return twin

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.model.birthplace.is_here:
            with self._floor.taken():
                self._close()

    def _open(
        self, content: Content, clock: Clock, cancellation: Cancellation, options: Any
    ) -> Turn:
        self._close()
        message = self._message(content)
        turn = Turn.of(
            self.model,
            Options.of(**options),
            clock,
            memory=self.memory,
            check=cancellation.check,
            overflow=self.overflow,
        )
        self._forget_sound()
        self._hears_clips = turn.options.use_audio_in_video
        with self._changing:
            self._messages.append(message)
            self._turn, self._question = turn, message
        return turn

    def _close(self, *, undo: bool = False) -> None:
        """Ends the turn before and keeps what was said in it.

        Args:
            undo: whether to forget the turn instead, as if it had not been asked.
        """
        with self._changing:
            self._end_turn(undo)

    def _end_turn(self, undo: bool = False) -> None:
        if self._workers is not None:
            self._workers.end()
        if self._answer is not None:
            self._answer = self._answer.noticed(self._messages, self._letters_per_second)
        turn, question = self._turn, self._question
        self._turn = self._workers = self._question = None
        if turn is None or question is None:
            return
        # before it said anything it failed, or was cut off with media that nobody has read:
        # later turns could not read them either
        undo |= not turn.text_ids and (turn.has_failed or not _is_read(question))
        if undo:
            self._forget(question)
            return
        self._forget(*turn.dropped)
        self._answer = None
        if turn.text_ids:
            self._remember(turn, question)

    def _forget(self, *messages: Message) -> None:
        gone = {id(message) for message in messages}
        self._messages[:] = [message for message in self._messages if id(message) not in gone]

    def _remember(self, turn: Turn, question: Message) -> None:
        """Adds a reply; of one that was cut off, what had sounded."""
        spoken = turn.spoken()
        text = spoken.text + spoken.unspoken
        if not text and turn.text_end is None:
            return  # it was cut off in text that is kept whole or not at all
        message = Message("assistant", text)
        self._messages.append(message)
        if not turn.options.speech:
            return
        if len(turn.codes) < turn.options.max_codes - 1:  # else the speech was cut short
            self._letters_per_second = spoken.letters_per_second or self._letters_per_second
        if turn.codes or not turn.is_finished:
            answer = Answer(question, message, spoken, turn.playback)
            self._answer = answer.noticed(self._messages, self._letters_per_second)

    def _feed(self, samples: Array) -> None:
        """Adds f32[n] in [-1, 1] to the sound, and encodes the whole blocks of it."""
        self._close()
        width = self.model.dims.audio.chunk_frames
        before = self._sound.certain_frames // width
        was_whole = not self._sound.dropped
        self._sound.push(samples)
        if was_whole and self._sound.dropped:
            seconds = self.model.preprocessing.max_audio_seconds
            _log.warning("only the first %g s of the sound are heard", seconds)
        blocks = self._sound.certain_frames // width
        if blocks > before:
            self._listen(self._sound.certain_mel()[:, : blocks * width])

    def _listen(self, mel: Array) -> None:
        """Feeds the whole blocks of a sound that goes on: f32[n_mels, frames]."""
        medium = sound_medium(mel, self.model.dims.audio)
        assert medium.heard is not None
        if self._listened is not None:
            medium.heard.adopt(self._listened)
        self._listened = medium.heard
        turn = Turn.of(
            self.model,
            Options.of(speech=False, use_audio_in_video=self._hears_clips),
            Clock(),
            memory=self.memory,
            overflow=self.overflow,
        )
        heard = Message("user", (*self._shown, Audio(None, medium)))
        with interruptible():
            turn.listen((*self._messages, heard))

    def _message(self, content: Content) -> Message:
        if isinstance(content, Message):
            message = content
        else:
            (message,) = parse_messages([{"role": "user", "content": content}])
        if not self._sound.size:
            return message
        sound, shown = self._heard_part(), self._shown
        rest = [part for part in message.parts if not (isinstance(part, Text) and not part.text)]
        return Message("user", (*shown, sound, *rest))

    def _heard_part(self) -> Audio:
        medium = grown_medium(self._sound, self.model.preprocessing, self.model.dims.audio)
        assert medium.heard is not None
        if self._listened is not None:
            medium.heard.adopt(self._listened)
        return Audio(None, medium)

    def _forget_sound(self) -> None:
        self._sound, self._listened = GrowingSound(self.model.preprocessing), None
        self._shown = ()


def _is_read(message: Message) -> bool:
    """Returns whether all media of a message were preprocessed."""
    return all(isinstance(part, Text) or part.medium is not None for part in message.parts)
