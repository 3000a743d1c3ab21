"""A conversation: caches stay from turn to turn, only what is new is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.messages import Audio, Message, Text, parse_messages
from omnijet.runtime.speech.synthesis import speech_preset
from omnijet.runtime.talk.channel import Cancellation
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.memory import Memory
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.reply import Reply
from omnijet.runtime.talk.stream import Stream
from omnijet.runtime.talk.turn import Overflow, Turn
from omnijet.runtime.talk.workers import Workers

if TYPE_CHECKING:
    from omnijet.runtime.omni import Omni

Content = str | Sequence[Mapping[str, Any]]


class Session:
    """Made by `Omni.session`. One turn at a time: a new one ends a stream that still runs.

    Attributes:
        messages: what was said by whom; of a reply that was cut off, what had been written.
        memory: what the model was fed of it.
        heard: f32[samples], what `feed_audio` was given for the next turn.
    """

    def __init__(self, omni: Omni, system: str | None, overflow: Overflow) -> None:
        if overflow not in ("error", "drop oldest"):
            raise OmnijetError(
                "overflow is unusable", expected="'error' or 'drop oldest'", got=repr(overflow)
            )
        self.omni = omni
        self.overflow = overflow
        self.messages: list[Message] = [] if system is None else [Message("system", system)]
        self.memory = Memory()
        self.heard = np.empty(0, np.float32)
        self._first = len(self.messages)
        self._workers: Workers | None = None  # not their stream: who drops that cancels it
        self._turn: Turn | None = None

    def generate(self, content: Content, **options: Any) -> Reply:
        """The reply to the user's next words, media and what was fed as sound before.

        Args:
            content: a string or parts, as of a user's message.
            options: as of `Omni.generate`.
        """
        turn = self._open(content, Clock(), Cancellation(), options)
        reply = self.omni.answer(turn, tuple(self.messages))
        self._close()
        return reply

    def stream(self, content: Content, *, preset: str = "exact", **options: Any) -> Stream:
        """The same as `Omni.stream`. Cancelling it (barge-in) leaves the session usable."""
        made, cancellation = speech_preset(preset), Cancellation()
        turn = self._open(content, Clock(), cancellation, options)
        stream = Stream(turn, tuple(self.messages), made, cancellation)
        self._workers = stream.workers
        return stream

    def feed_audio(self, samples: Array) -> None:
        """Listens while the user speaks: what is certain is encoded and prefilled already.

        The sound is the first part of the next turn's message; its ids are those of the
        whole sound given at once.

        Args:
            samples: f32[n] mono at the model's rate (16 kHz), what came since the last call.
        """
        self._close()
        before = self._whole_blocks()
        self.heard = np.concatenate([self.heard, np.asarray(samples, np.float32)])
        whole = self._whole_blocks()
        if whole > before:
            turn = self.omni.turn(
                Options.of(speech=False), Clock(), self.memory, overflow=self.overflow
            )
            turn.listen(
                (*self.messages, self._message("")), whole * self.omni.dims.audio.chunk_tokens
            )

    def reset(self) -> None:
        """Forgets all but the system prompt."""
        self._close()
        self.messages = self.messages[: self._first]
        self.memory = Memory()
        self.heard = self.heard[:0]

    def fork(self) -> Session:
        """Another session that goes on from here; neither hears of the other."""
        self._close()
        twin = Session(self.omni, None, self.overflow)
        twin.messages, twin.memory = list(self.messages), self.memory.fork()
        twin.heard, twin._first = self.heard, self._first
        return twin

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _open(
        self, content: Content, clock: Clock, cancellation: Cancellation, options: Any
    ) -> Turn:
        self._close()
        message = self._message(content)
        turn = self.omni.turn(
            Options.of(**options), clock, self.memory, cancellation.check, self.overflow
        )
        self.messages.append(message)
        self.heard = self.heard[:0]
        self._turn = turn
        return turn

    def _close(self) -> None:
        """Ends the turn before and keeps what was said in it."""
        turn, workers = self._turn, self._workers
        self._turn = self._workers = None
        if workers is not None:
            workers.end()
        if turn is None:
            return
        del self.messages[self._first : self._first + turn.dropped]
        if turn.text_ids:
            text = self.omni.tokenizer.decode(turn.text_ids)
            self.messages.append(Message("assistant", text))
        else:  # it failed before it said anything: as if it had not been asked
            self.messages.pop()

    def _message(self, content: Content) -> Message:
        (message,) = parse_messages([{"role": "user", "content": content}])
        if not self.heard.size:
            return message
        sound = Audio((self.heard, self.omni.preprocessing.sample_rate_hz))
        rest = [part for part in message.parts if not (isinstance(part, Text) and not part.text)]
        return Message("user", (sound, *rest))

    def _whole_blocks(self) -> int:
        """The encoder's blocks of which every mel frame has all the sound it looks at."""
        frames = (self.heard.size - self.omni.preprocessing.n_fft) // self.omni.preprocessing.hop
        return max(0, frames // self.omni.dims.audio.chunk_frames)
