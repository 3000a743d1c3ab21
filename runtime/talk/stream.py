"""A reply as it comes into being: text and sound from two workers, read by whoever asked.

One worker runs Thinker and Talker in turns, the other makes sound of the codec tokens
(DiT, vocoder). Bounded channels connect them with each other and with the reader: a slow
reader makes the workers wait, and nothing is lost. While the first sound is made the writer
rests, because the two would share the machine's cores and memory bandwidth and the listener
would wait longer. Cancelling ends both, in the middle of a graph call if the backend can.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from types import TracebackType

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.model.thinker import TextStep
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.speech.presets import SpeechPreset
from omnijet.runtime.talk.channel import Channel
from omnijet.runtime.talk.options import whole_number
from omnijet.runtime.talk.reply import FinishReason, PcmChunk, Reply, TextDelta
from omnijet.runtime.talk.turn import Turn
from omnijet.runtime.talk.workers import Workers

EVENTS = 64  # the most that wait for the reader
CODES = 512  # the most that wait for the DiT: ten seconds of speech

Event = TextDelta | PcmChunk


class Stream:
    """Yields `TextDelta` and `PcmChunk` as they come; `reply` is what came so far.

    Use it in a `with` block, read it to the end, or `cancel` it. A stream that is dropped is
    cancelled too.

    Threads: any thread may read it, cancel it and look at `reply`. If several read it, each event
    goes to one of them, and so does an error; all find the end. After a fork the child cannot use
    it.

    Args:
        turn: made with the check of `cancellation`.
        messages: what is to be answered.
        preset: how the sound is made.

    Attributes:
        messages: what is answered; the question is the last.
        workers: they end with the stream, and hold none of it.
    """

    def __init__(
        self,
        turn: Turn,
        messages: Sequence[Message],
        preset: SpeechPreset,
        cancellation: Cancellation,
    ) -> None:
        self._turn, self._cancellation, self.messages = turn, cancellation, messages
        self._events: Channel[Event] = Channel(EVENTS, cancellation)
        self._samples: list[Array] = []
        self._reading = threading.RLock()  # chunks are noted in the order of the sound
        codes: Channel[int] = Channel(CODES, cancellation)
        sounds: Channel[None] = Channel(1, cancellation)
        speech = turn.model.dims.speech
        opening = 0  # without a voice no code comes
        if speech is not None:
            opening = preset.windows.opening(speech.dit.block) // speech.dit.repeats
        self.workers = Workers(
            cancellation,
            {
                "write": partial(_write, turn, messages, self._events, codes, opening, sounds),
                "speak": partial(_speak, turn, preset, self._events, codes, opening, sounds),
            },
        )
        # the workers hold no reference to this object: when it is collected, they end
        weakref.finalize(self, self.workers.end)
        turn.model.add_stream(self.workers)
        try:
            self.workers.start()
        except BaseException:  # the system refused a thread: the thread before it must end
            self.workers.end()
            raise

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """Waits for the next event.

        Raises:
            OmnijetError: as `Omni.generate`; the workers have ended then.
            StopIteration: the reply is whole, or was cancelled.
        """
        self._turn.model.birthplace.require_here()
        with self._reading:
            return self._next()

    def _next(self) -> Event:
        try:
            taken = self._events.take()
        except Cancelled:
            taken = []
        except BaseException:
            self.cancel()
            raise
        if not taken:
            self.cancel()
            raise StopIteration
        (event,) = taken
        if isinstance(event, PcmChunk):
            self._samples.append(event.samples)
            self._turn.playback.taken += event.samples.size
        return event

    def cancel(self, played: int | None = None) -> None:
        """Ends the reply now (barge-in), from any thread.

        When this returns the workers are gone, and whoever reads the stream finds its end. What
        was read already stays in `reply`. A session remembers only the words that had sounded
        (`omnijet.runtime.talk.heard` says how they are placed in time). A later call may correct
        `played` until the session's next reply.

        Args:
            played: samples of the reply, from its first, that the listener has heard; all that
                the reader has taken by default.

        Raises:
            OmnijetError: `played` is no whole number from 0.
        """
        if played is not None:
            self._turn.playback.played = whole_number(played, "played", 0)
        self.workers.end()

    @property
    def reply(self) -> Reply:
        """What was written, said and, of the sound, read so far."""
        self._turn.model.birthplace.require_here()
        audio = np.concatenate([np.empty(0, np.float32), *self._samples])
        return self._turn.reply(audio, finish_reason=self._finish_reason)

    @property
    def _finish_reason(self) -> FinishReason | None:
        if self._turn.has_failed:
            return None
        if self._events.is_drained:
            return self._turn.ending
        return "cancelled" if self._cancellation.is_set else None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()


def _write(
    turn: Turn,
    messages: Sequence[Message],
    events: Channel[Event],
    codes: Channel[int],
    opening: int,
    sounds: Channel[None],
) -> None:
    """Runs Thinker and Talker: the first worker. After `opening` codes it waits for the sound."""
    feed = turn.text_feed()
    try:
        for event in turn.events(messages):
            if isinstance(event, TextStep):
                if (delta := feed.push(event.token)) is not None:
                    events.put(delta)
            else:
                codes.put(event)
                if len(turn.codes) == opening:
                    sounds.take()
        if (delta := feed.rest()) is not None:
            events.put(delta)
    except Cancelled:
        codes.end()
    except BaseException as failure:
        codes.end(failure)
    else:
        codes.end()


def _speak(
    turn: Turn,
    preset: SpeechPreset,
    events: Channel[Event],
    codes: Channel[int],
    opening: int,
    sounds: Channel[None],
) -> None:
    """Runs DiT and vocoder: the second worker. It ends last."""

    def batches() -> Iterator[list[int]]:
        taken = 0
        while batch := codes.take(CODES):
            yield batch
            # the next batch is wanted: the reader has the sound of these codes
            taken += len(batch)
            if taken >= opening:
                sounds.end()

    try:
        for chunk in turn.sound(batches(), preset):
            events.put(chunk)
    except Cancelled:
        events.end()
    except BaseException as failure:
        turn.has_failed = True
        events.end(failure)
    else:
        turn.is_finished = True
        events.end()
    finally:
        sounds.end()
