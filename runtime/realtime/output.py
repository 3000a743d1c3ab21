"""The events of one answer: its item, its part, words and sound as they come."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.prompt.tool_calls import (
    CallArguments,
    CallBegun,
    CallEnded,
    Piece,
    Text,
    ToolCallParser,
)
from omnijet.runtime.realtime.call_output import CallOutput
from omnijet.runtime.realtime.items import Item, Status, answer
from omnijet.runtime.realtime.paced import Paced
from omnijet.runtime.realtime.settings import Settings
from omnijet.runtime.realtime.sound_format import Outgoing
from omnijet.runtime.realtime.stage import Stage

MOST_SAMPLES = 4800
"""One event has 200 ms, so that a slow client is told soon that a reply was cut."""


class Output:
    """Tells a client of the items that one response makes. One thread uses it.

    Args:
        response_id: of the response.
        is_wanted: whether the reply has not been cut.

    Attributes:
        items: that were begun.
        text: of the answer so far.
    """

    def __init__(
        self, stage: Stage, settings: Settings, response_id: str, is_wanted: Callable[[], bool]
    ) -> None:
        self._stage, self._settings = stage, settings
        self._response_id, self._is_wanted = response_id, is_wanted
        self._outgoing = Outgoing(settings.output_format)
        self._item: Item | None = None
        self._index = 0  # of the answer among the items
        self._parser = ToolCallParser(settings.tools.names) if settings.tools.names else None
        self._call: CallOutput | None = None
        self.items: list[Item] = []
        self.text = ""

    @property
    def item(self) -> Item | None:
        """The answer; None before it begins."""
        return self._item

    @property
    def is_spoken(self) -> bool:
        """Whether the answer has sound."""
        return self._settings.modality == "audio"

    def write(self, text: str) -> None:
        """Passes on what was written: words of the answer, and calls."""
        if self._parser is None:
            self._write(text)
        else:
            self._take(self._parser.push(text))

    def _take(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, Text):
                self._write(piece.text)
            elif isinstance(piece, CallBegun):
                self._call = CallOutput(
                    self._stage, self._response_id, len(self.items), piece.name, self._is_wanted
                )
                self.items.append(self._call.item)
            elif self._call is not None:
                if isinstance(piece, CallArguments):
                    self._call.write(piece.fragment)
                else:
                    self._call.end("completed" if isinstance(piece, CallEnded) else "incomplete")

    def _write(self, text: str) -> None:
        if not text:
            return
        self._begin()
        self.text += text
        kind = "output_audio_transcript" if self.is_spoken else "output_text"
        self._part_event(f"{kind}.delta", self._is_wanted, delta=text)

    def say(self, samples: Array) -> bool:
        """Passes on what was said, f32[n] at 24 kHz. Returns whether any of it was sent."""
        item, any_sent = self._begin(), False
        for first in range(0, samples.size, MOST_SAMPLES):
            piece = samples[first : first + MOST_SAMPLES]
            if not self._sound(self._outgoing.push(piece)):
                return any_sent
            assert item.paced is not None
            item.paced.send(piece.size)
            any_sent = True
        return any_sent

    def settle(self) -> None:
        """Notes that no text comes any more."""
        if self._parser is not None:
            self._take(self._parser.rest())

    def end(self, status: Status) -> None:
        """Ends the answer, if one was begun, and a call that breaks off."""
        if self._call is not None and not self._call.has_ended:
            self._call.end("incomplete")
        item = self._item
        if item is None:
            return
        if self.is_spoken:
            if status == "completed":
                self._sound(self._outgoing.finish())
            self._part_event("output_audio.done")
            self._part_event("output_audio_transcript.done", transcript=self.text)
        else:
            self._part_event("output_text.done", text=self.text)
        self._part_event("content_part.done", part=self._part(self.text))
        item.status = status
        item.facts["content"] = [self._content()]
        self._stage.outbox.send(
            "response.output_item.done", response_id=self._response_id, output_index=self._index,
            item=item.wire(),
        )  # fmt: skip
        self._stage.outbox.send(
            "conversation.item.done", previous_item_id=self._stage.history.before(item),
            item=item.wire(),
        )  # fmt: skip

    def _begin(self) -> Item:
        if self._item is not None:
            return self._item
        item = self._item = answer()
        self._index = len(self.items)
        self.items.append(item)
        if self.is_spoken:
            item.paced = Paced()
        outbox = self._stage.outbox
        before = self._stage.history.add(item)
        outbox.send(
            "response.output_item.added", response_id=self._response_id, output_index=self._index,
            item=item.wire(),
        )  # fmt: skip
        outbox.send("conversation.item.added", previous_item_id=before, item=item.wire())
        self._part_event("content_part.added", part=self._part(""))
        return item

    def _sound(self, data: bytes) -> bool:
        if not data:
            return self._is_wanted()
        delta = base64.b64encode(data).decode()
        return self._part_event("output_audio.delta", self._is_wanted, delta=delta)

    def _part_event(
        self, name: str, wanted: Callable[[], bool] = lambda: True, **fields: Any
    ) -> bool:
        assert self._item is not None
        return self._stage.outbox.send(
            f"response.{name}", wanted, response_id=self._response_id, item_id=self._item.id,
            output_index=self._index, content_index=0, **fields,
        )  # fmt: skip

    def _part(self, text: str) -> dict[str, Any]:
        kind, words = ("audio", "transcript") if self.is_spoken else ("text", "text")
        return {"type": kind, words: text}

    def _content(self) -> dict[str, Any]:
        if self.is_spoken:
            return {"type": "output_audio", "transcript": self.text}
        return {"type": "output_text", "text": self.text}
