"""A conversation from the client's side: events of the server in, events of the client out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.capture import Capture
from omnijet.runtime.chat.playback import Playback
from omnijet.runtime.chat.record import Record, Turn
from omnijet.runtime.chat.replies import Replies
from omnijet.runtime.chat.settings import Settings
from omnijet.runtime.chat.transport import Event, Lost, News, Put, Said, Transport
from omnijet.runtime.chat.view import Phase, View
from omnijet.runtime.chat.wire import encoded, failure, kind_of, object_of, text_of

SETTLE_S = 1.0
"""How long a server may take to make a question of a speech that has ended."""
_HARMLESS = frozenset({"response_cancel_not_active"})
"""Errors of two who were as quick as each other."""


class Dialog:
    """Follows a conversation and plays it. One thread uses it.

    Args:
        transport: to whoever answers.
        settings: what is asked of them.
        playback: where the replies' sound goes.
        view: what is shown.
        put: takes what the transport brings.
        clock: in seconds.
        paced: whether sound is heard as fast as it is spoken.
        record: where what is said is kept; a new one by default.

    Attributes:
        record: what was said.
        faults: what the server refused or failed at, from the beginning.
        events: how many came.
        source: the number of the conversation; news of another one are of the past.
        was_read: whether what was sent before `ask_whether_read` was read.
    """

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        playback: Playback,
        view: View,
        put: Put,
        clock: Callable[[], float] = time.monotonic,
        paced: bool = True,
        record: Record | None = None,
    ) -> None:
        self.record = record or Record()
        self.faults: list[str] = []
        self.events = self.source = 0
        self._transport, self._settings = transport, settings
        self._playback, self._view, self._put, self._clock = playback, view, put, clock
        self._paced = paced
        self._numbers = count(1)
        self._begin()

    def _begin(self) -> None:
        self._capture = Capture(self._paced)
        self._replies = Replies(
            self._transport.send, self._playback, self.record, self._view, self._clock,
            self._settings.speech,
        )  # fmt: skip
        self._shown: list[Mapping[str, Any]] = []  # what the next question is about
        self._asked: set[str] = set()  # identifiers of events that ask for a reply
        self._is_heard = False  # a speech goes on
        self._heard_at: float | None = None  # when one ended of which no question is made yet
        self._marker = ""
        self.was_read = False

    def open(self) -> None:
        """Begins a conversation. Raises `OmnijetError`."""
        number = self.source = next(self._numbers)

        def put(news: News) -> None:
            if isinstance(news, Said | Lost):
                news = replace(news, source=number)
            self._put(news)

        self._transport.open(put)
        self._transport.send({"type": "session.update", "session": self._settings.session()})

    def reset(self) -> None:
        """Forgets the conversation and begins another with the same settings."""
        self._playback.stop()
        self.record.forget()
        self._begin()
        self.open()

    def close(self) -> None:
        """Ends the conversation. Harmless if repeated."""
        self._transport.close()

    # -- what the user does -------------------------------------------------------

    def say(self, text: str) -> None:
        """Asks something typed. A reply that goes on is stopped."""
        self.stop()
        self.show([{"type": "input_text", "text": text}], text)
        self._send_shown()
        self._ask(self._clock())

    def show(self, content: Sequence[Mapping[str, Any]], caption: str) -> None:
        """Adds something to the next question: to its message if it is typed, else before it."""
        self.record.add(Turn("user", caption))
        self._shown += content

    def begin_speech(self) -> None:
        """Takes that the user begins to speak, where a key says so. A reply is stopped."""
        self.stop()
        self._send_shown()

    def hear(self, samples: Array, at: float) -> None:
        """Passes on f32[n] at 24 kHz of a microphone, the last of which was spoken `at`."""
        self._capture.note(len(samples), at)
        self._transport.send({"type": "input_audio_buffer.append", "audio": encoded(samples)})

    def end_speech(self, at: float) -> None:
        """Asks what was heard since the last question; where no pause does that."""
        self._transport.send({"type": "input_audio_buffer.commit", "event_id": self._asking()})
        self._ask(at)

    def forget_speech(self) -> None:
        """Drops what was heard since the last question."""
        self._transport.send({"type": "input_audio_buffer.clear"})

    def stop(self) -> bool:
        """Stops the reply that is made or heard; returns whether there was one."""
        return self._replies.stop()

    def use_voice(self, name: str) -> None:
        """Lets somebody else speak from the next reply on."""
        self._settings = replace(self._settings, voice=name)
        session = {"type": "realtime", "audio": {"output": {"voice": name}}}
        self._transport.send({"type": "session.update", "session": session})

    def ask_whether_read(self) -> None:
        """Has the server say when it has read all that was sent: events are read in order."""
        self.was_read = False
        self._marker = f"omnijet_read_{next(self._numbers)}"
        self._transport.send(
            {
                "type": "conversation.item.retrieve",
                "item_id": self._marker,  # there is none, which is the answer
                "event_id": self._marker,
            }
        )

    @property
    def is_busy(self) -> bool:
        """Whether a speech, a reply or its sound goes on."""
        return self._is_heard or self._replies.go_on or self._playback.sounds

    @property
    def turns(self) -> int:
        """Questions whose reply has ended, or was refused."""
        return self._replies.ended

    @property
    def phase(self) -> Phase:
        """What goes on now."""
        if self._is_heard:
            return Phase.HEARING
        if self._playback.sounds:
            return Phase.SPEAKING
        if self._replies.go_on or self._is_settling:
            return Phase.THINKING
        return Phase.READY if self._settings.pauses is None else Phase.LISTENING

    @property
    def _is_settling(self) -> bool:
        return self._heard_at is not None and self._clock() - self._heard_at < SETTLE_S

    # -- what the server says -----------------------------------------------------

    def take(self, event: Event) -> None:
        """Follows a server event; unknown ones are nothing to us."""
        self.events += 1
        handler = _HANDLERS.get(kind_of(event))
        if handler is not None:
            handler(self, event)

    def sounding(self, item: str, at: float) -> None:
        """Takes when an item began to be heard."""
        self._replies.sounding(item, at)

    def _send_shown(self) -> None:
        if self._shown:
            item = {"type": "message", "role": "user", "content": self._shown}
            self._shown = []
            self._transport.send({"type": "conversation.item.create", "item": item})

    def _ask(self, at: float) -> None:
        self._replies.asked(at)
        self._transport.send({"type": "response.create", "event_id": self._asking()})

    def _asking(self) -> str:
        name = f"ask_{next(self._numbers)}"
        self._asked.add(name)
        return name

    def _speech_started(self, event: Event) -> None:
        self._is_heard, self._heard_at = True, None
        self._replies.silence()  # the server ends it itself
        self._send_shown()

    def _speech_stopped(self, event: Event) -> None:
        self._is_heard, self._heard_at = False, self._clock()
        end, at = event.get("audio_end_ms"), None
        if isinstance(end, int | float):
            at = self._capture.time_of(end)
        self._replies.question_ends(self._clock() if at is None else at)

    def _committed(self, event: Event) -> None:
        self._is_heard, self._heard_at = False, None
        turn = self.record.add(Turn("user", "(spoken)", text_of(event, "item_id") or None))
        self._view.question(turn.text)
        if self._settings.pauses is not None:
            self._replies.awaits()

    def _transcribed(self, event: Event) -> None:
        """Takes what a server with a recogniser says the user said."""
        if text := text_of(event, "transcript").strip():
            self.record.reply(text_of(event, "item_id")).text = text
            self._view.question(text)

    def _done(self, event: Event) -> None:
        response = object_of(event, "response")
        if text_of(response, "status") == "failed":
            self._fault(failure(response))
        self._replies.ends(event)

    def _error(self, event: Event) -> None:
        error = object_of(event, "error")
        if text_of(error, "code") in _HARMLESS:
            return
        message = text_of(error, "message") or "an error without a message"
        cause = text_of(error, "event_id")
        if self._marker and (cause == self._marker or self._marker in message):
            self.was_read = True
            return
        if cause in self._asked or not cause:
            self._replies.refused()
        param = text_of(error, "param")
        self._fault(f"{message} ({param})" if param else message)

    def _fault(self, text: str) -> None:
        self.faults.append(text)
        self._view.tell(f"the server says: {text}")


_HANDLERS: dict[str, Callable[[Dialog, Event], None]] = {
    "input_audio_buffer.speech_started": Dialog._speech_started,
    "input_audio_buffer.speech_stopped": Dialog._speech_stopped,
    "input_audio_buffer.committed": Dialog._committed,
    "conversation.item.input_audio_transcription.completed": Dialog._transcribed,
    "response.created": lambda dialog, event: dialog._replies.begins(event),
    "response.output_audio.delta": lambda dialog, event: dialog._replies.sound(event),
    "response.output_audio.done": lambda dialog, event: dialog._replies.sound_ends(event),
    "response.output_audio_transcript.delta": lambda dialog, event: dialog._replies.words(event),
    "response.output_text.delta": lambda dialog, event: dialog._replies.words(event),
    "response.done": Dialog._done,
    "error": Dialog._error,
}
