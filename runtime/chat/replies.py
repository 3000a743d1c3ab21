"""The replies of a conversation: asked for, made, heard, stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from omnijet.runtime.chat.playback import RATE_HZ, Playback
from omnijet.runtime.chat.record import Record
from omnijet.runtime.chat.transport import Event
from omnijet.runtime.chat.view import View
from omnijet.runtime.chat.wire import decoded, item_ids, object_of, text_of

Send = Callable[[Mapping[str, Any]], None]
MOST_LETTERS = 1 << 20  # of one reply


class Replies:
    """Follows replies, plays them, and says what was heard of those that were stopped.

    Args:
        send: passes a client event on.
        playback: where their sound goes.
        record: where they are kept.
        view: where they are shown.
        clock: in seconds.
        speech: whether they have sound.

    Attributes:
        ended: replies that were made, failed or were refused.
    """

    def __init__(
        self,
        send: Send,
        playback: Playback,
        record: Record,
        view: View,
        clock: Callable[[], float],
        speech: bool,
    ) -> None:
        self.ended = 0
        self._send, self._playback, self._record = send, playback, record
        self._view, self._clock, self._speech = view, clock, speech
        self._active: str | None = None  # the response that is being made
        self._awaited = 0  # asked for, and not begun
        self._unwanted = 0  # stopped before they began
        self._stopped: set[str] = set()  # responses that nobody wants to hear any more
        self._parts: dict[str, int] = {}  # content_index of each item
        self._begun: set[str] = set()  # items of which something was heard or read
        self._asked_at: float | None = None  # the end of the question

    @property
    def go_on(self) -> bool:
        """Whether one is awaited or being made."""
        return self._active is not None or self._awaited > 0

    def asked(self, at: float) -> None:
        """Takes that a question has ended `at`; its reply comes."""
        self._asked_at = at
        self._awaited += 1

    def awaits(self) -> None:
        """Takes that a reply comes to the question that has ended."""
        self._awaited += 1

    def question_ends(self, at: float) -> None:
        """Takes when a question ended whose reply is asked for later."""
        self._asked_at = at

    def refused(self) -> None:
        """Takes that no reply comes."""
        self.ended += bool(self._awaited)
        self._awaited = self._unwanted = 0

    def stop(self) -> bool:
        """Stops what is made, awaited or heard; returns whether there was anything."""
        was_made = self.go_on
        if self._active is not None:
            self._cancel(self._active)
        self._unwanted += self._awaited
        self._awaited = 0
        return self.silence() or was_made

    def silence(self) -> bool:
        """Plays no more of what is playing, and says what was heard of it."""
        if self._active is not None:
            self._stopped.add(self._active)
        cuts = self._playback.stop()
        for cut in cuts:
            self._record.reply(cut.item).played = cut.played
            self._send(
                {
                    "type": "conversation.item.truncate",
                    "item_id": cut.item,
                    "content_index": self._parts.get(cut.item, 0),
                    "audio_end_ms": cut.played * 1000 // RATE_HZ,
                }
            )
        return bool(cuts)

    def begins(self, event: Event) -> None:
        """Takes `response.created`."""
        self._active = text_of(object_of(event, "response"), "id")
        if self._unwanted:
            self._unwanted -= 1
            self._stopped.add(self._active)
            self._cancel(self._active)
        else:
            self._awaited = max(0, self._awaited - 1)

    def sound(self, event: Event) -> None:
        """Takes a piece of sound."""
        if text_of(event, "response_id") in self._stopped:
            return
        item, samples = self._item(event), decoded(text_of(event, "delta"))
        self._record.hear(self._record.reply(item), samples)
        self._playback.add(item, samples)

    def sound_ends(self, event: Event) -> None:
        """Takes that an item has no more sound."""
        self._playback.finish(text_of(event, "item_id"))

    def words(self, event: Event) -> None:
        """Takes a piece of text, or of what is being said."""
        if text_of(event, "response_id") in self._stopped:
            return
        item, words = self._item(event), text_of(event, "delta")
        if not self._speech:
            self.sounding(item, self._clock())
        turn = self._record.reply(item)
        if len(turn.text) + len(words) <= MOST_LETTERS:
            turn.text += words
            self._view.answer(words)

    def sounding(self, item: str, at: float) -> None:
        """Takes when an item began to be heard, or read."""
        if item in self._begun:
            return
        self._begun.add(item)
        if self._asked_at is not None:
            latency = self._record.reply(item).latency_ms = 1e3 * (at - self._asked_at)
            self._asked_at = None
            self._view.latency(latency)

    def ends(self, event: Event) -> None:
        """Takes `response.done`."""
        response = object_of(event, "response")
        name = text_of(response, "id")
        for item in item_ids(response):
            self._playback.finish(item)
        was_stopped = name in self._stopped
        self._stopped.discard(name)
        if self._active not in (None, name):
            return
        self._active = None
        self.ended += 1
        self._view.answered(_note(text_of(response, "status"), was_stopped))

    def _cancel(self, response: str) -> None:
        self._send({"type": "response.cancel", "response_id": response})

    def _item(self, event: Event) -> str:
        item, part = text_of(event, "item_id"), event.get("content_index")
        if isinstance(part, int):
            self._parts[item] = part
        return item


def _note(status: str, was_stopped: bool) -> str | None:
    if was_stopped or status == "cancelled":
        return "stopped"
    return "cut: its limit was reached" if status == "incomplete" else None
