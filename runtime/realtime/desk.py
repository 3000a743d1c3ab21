"""Handles the events of a client, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.realtime.fault import Fault, shown
from omnijet.runtime.realtime.fields import Fields
from omnijet.runtime.realtime.hearing import Hearing
from omnijet.runtime.realtime.inbox import Arrived, Inbox
from omnijet.runtime.realtime.item_reader import ItemReader
from omnijet.runtime.realtime.items import Item
from omnijet.runtime.realtime.latency import Asked
from omnijet.runtime.realtime.settings import Settings, SettingsReader
from omnijet.runtime.realtime.sound_format import from_base64
from omnijet.runtime.realtime.speaking import Speaking
from omnijet.runtime.realtime.stage import Stage
from omnijet.runtime.realtime.transcriber import Transcriber
from omnijet.runtime.voice.detector import Detector

MOST_EVENT_ID = 512
MOST_AUDIO = 16 << 20
"""Characters of sound in one event."""
MOST_ID = 256
ELSEWHERE = {
    "output_audio_buffer.clear": "over a WebSocket the client has the sound: send "
    "conversation.item.truncate",
    "transcription_session.update": "there are no sessions of transcription only",
}


class Desk:
    """Knows what each event of a client does. The conversation's own thread uses it.

    Args:
        opens: makes a detector.
    """

    def __init__(self, stage: Stage, inbox: Inbox, opens: Callable[..., Detector]) -> None:
        self._stage = stage
        self._speaking = Speaking(stage, lambda: inbox.work(self._go_on))
        self._notes = Transcriber(stage, lambda: not self._speaking.is_active)
        self._hearing = Hearing(stage, self._speaking, self._write_down, opens)
        model = stage.assistant.omni.model
        self._settings = SettingsReader(model.bundle, model.tokenizer)
        self._items = ItemReader(stage.assistant.limits, model.tokenizer, stage.history)
        self._committed: Asked | None = None  # if that was the last event
        self._handlers: dict[str, Callable[[Fields, float], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.delete": self._delete,
            "conversation.item.truncate": self._truncate,
            "response.create": self._answer,
            "response.cancel": self._cancel,
        }

    def open(self) -> None:
        """Begins: tells the session. Without a detector nobody's turns are found."""
        stage = self._stage
        try:
            self._hearing.detect(stage.settings.turn_detection)
        except OmnijetError:
            stage.settings = stage.settings.without_detection()
        stage.outbox.send("session.created", session=stage.settings.wire(stage.seat.id))

    def event_id(self, event: Mapping[str, Any]) -> str | None:
        """Returns the client's id of an event, if it has a usable one."""
        given = event.get("event_id") if isinstance(event, Mapping) else None
        return given if isinstance(given, str) and len(given) <= MOST_EVENT_ID else None

    def handle(self, arrived: Arrived) -> None:
        """Does what an event asks for. Raises `Fault`."""
        fields = Fields(arrived.event)
        kind = fields.need("type")
        if fields.take("event_id") is not None:
            fields.text("event_id", MOST_EVENT_ID)
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        if handler is None:
            raise self._unknown(kind)
        if kind not in ("input_audio_buffer.commit", "response.create"):
            self._committed = None
        handler(fields, arrived.at)

    def stop(self) -> None:
        """Ends the response. Any thread may call it."""
        self._notes.stop()
        self._speaking.stop()

    def leave(self) -> None:
        """Lets go of everything, once nothing is handled any more."""
        self._speaking.stop()
        self._speaking.join()
        self._notes.join()
        self._hearing.leave()
        self._stage.seat.leave()

    def _go_on(self) -> None:
        """Does what had to wait for the end of a response."""
        self._hearing.catch_up()
        self._notes.go_on()

    def _write_down(self, item: Item) -> None:
        how = self._stage.settings.transcription
        if how is not None:
            self._notes.add(item, how)

    def _update(self, fields: Fields, at: float) -> None:
        session = fields.child("session")
        if session is None:
            raise Fault("session is missing", "missing_required_parameter", "session")
        fields.end()
        stage = self._stage
        before, new = stage.settings, self._settings.session(stage.settings, session)
        try:
            self._hearing.detect(new.turn_detection)
        except OmnijetError as error:
            raise Fault.of(error, "session.audio.input.turn_detection") from error
        stage.settings = new
        if new.input_format != before.input_format:
            self._hearing.take(new.input_format, at)
        stage.outbox.send("session.updated", session=new.wire(stage.seat.id))

    def _append(self, fields: Fields, at: float) -> None:
        text = fields.text("audio", MOST_AUDIO)
        fields.end()
        self._hearing.append(from_base64(text, "audio"), at)

    def _commit(self, fields: Fields, at: float) -> None:
        fields.end()
        self._committed = self._hearing.commit(at)

    def _clear(self, fields: Fields, at: float) -> None:
        fields.end()
        self._hearing.clear()

    def _create(self, fields: Fields, at: float) -> None:
        asked = fields.child("item")
        if asked is None:
            raise Fault("item is missing", "missing_required_parameter", "item")
        after = None
        if fields.take("previous_item_id") is not None:
            after = fields.text("previous_item_id", MOST_ID)
        fields.end()
        item = self._items.read(asked, self._stage.settings.input_format)
        self._stage.add(item, after)

    def _retrieve(self, fields: Fields, at: float) -> None:
        item = self._stage.history.get(fields.text("item_id", MOST_ID))
        fields.end()
        self._stage.outbox.send("conversation.item.retrieved", item=item.wire())

    def _delete(self, fields: Fields, at: float) -> None:
        id = fields.text("item_id", MOST_ID)
        fields.end()
        if self._stage.history.get(id).status == "in_progress":
            raise Fault(
                f"{id!r} is being made: cancel its response first", "invalid_value", "item_id"
            )
        self._stage.history.delete(id)
        self._stage.outbox.send("conversation.item.deleted", item_id=id)

    def _truncate(self, fields: Fields, at: float) -> None:
        id = fields.text("item_id", MOST_ID)
        fields.need("content_index")
        fields.whole("content_index", 0, 0)
        end_ms = fields.whole("audio_end_ms", 0, 10**9)
        fields.end()
        self._speaking.truncate(id, end_ms)

    def _answer(self, fields: Fields, at: float) -> None:
        asked: Asked = self._committed or Asked(at)
        self._committed = None
        settings: Settings = self._stage.settings
        metadata: dict[str, str] = {}
        if (overrides := fields.child("response")) is not None:
            settings, metadata = self._settings.response(settings, overrides)
        fields.end()
        if not self._speaking.is_active:
            self._hearing.suspend()
        self._speaking.answer(settings, metadata, asked)

    def _cancel(self, fields: Fields, at: float) -> None:
        id = fields.text("response_id", MOST_ID) if fields.take("response_id") is not None else None
        fields.end()
        self._speaking.cancel(id)

    def _unknown(self, kind: Any) -> Fault:
        known = list(self._handlers)
        if isinstance(kind, str) and kind in ELSEWHERE:
            return Fault(f"{kind}: {ELSEWHERE[kind]}", "unsupported_event", "type")
        near = (
            get_close_matches(kind, known, n=1) if isinstance(kind, str) and len(kind) < 100 else []
        )
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return Fault(f"there is no event {shown(kind)}{hint}", "unknown_event", "type")
