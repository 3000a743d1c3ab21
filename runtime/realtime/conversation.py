"""One voice conversation: client events in, server events out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.realtime.desk import Desk
from omnijet.runtime.realtime.fault import SERVER, Fault
from omnijet.runtime.realtime.inbox import Arrived, Inbox
from omnijet.runtime.realtime.outbox import Gone, Outbox, Send, ServerEvent
from omnijet.runtime.realtime.settings import Settings
from omnijet.runtime.realtime.stage import Stage
from omnijet.runtime.voice.detector import Detector
from omnijet.runtime.voice.open import open_detector

__all__ = ["Conversation", "Gone", "Send", "ServerEvent"]

_log = logging.getLogger(__name__)


class Conversation:
    """Speaks the OpenAI Realtime API (GA names) over any transport; it knows no socket.

    `receive` returns at once. The conversation has threads of its own, which are gone when `close`
    returns.

    Args:
        assistant: who answers.
        send: takes server events, as objects that `json.dumps` takes.
        model: name of the model, as clients call it.
        preset: quality of the speech, until the client chooses another.
        opens: makes a detector of speech from `Pauses`.
    """

    def __init__(
        self,
        assistant: Assistant,
        send: Send,
        *,
        model: str = "omnijet",
        preset: str = "exact",
        opens: Callable[..., Detector] = open_detector,
    ) -> None:
        self.assistant = assistant
        self._settings = Settings.of(assistant.omni.bundle, model, preset)
        self._outbox, self._inbox, self._opens = Outbox(send), Inbox(), opens
        self._desk: Desk | None = None
        self._lost = False  # whether an event found no room
        self._thread = threading.Thread(
            target=self._listen, name="omnijet-realtime-ear", daemon=True
        )

    def start(self) -> None:
        """Opens the session and sends `session.created`. Raises `Busy`."""
        seat = self.assistant.sit()
        stage = Stage(self.assistant, seat, self._outbox, self._settings)
        self._desk = Desk(stage, self._inbox, self._opens)
        self._thread.start()

    def receive(self, event: Mapping[str, Any]) -> None:
        """Takes one client event, parsed JSON of unknown make; faults become `error` events.

        An event for which there is no room is lost, which an `error` event tells: see
        `wait_for_room`.
        """
        if not self._inbox.put(event) and not self._lost:
            self._lost = True
            self._inbox.work(self._tell_lost)

    def tell(self, fault: Fault) -> None:
        """Sends an `error` event about what was no event at all, in its turn."""

        def tell() -> None:
            raise fault

        self._inbox.work(tell)

    def wait_for_room(self, seconds: float | None = None) -> bool:
        """Waits until the next event finds room. Returns whether it does."""
        return self._inbox.wait_for_room(seconds)

    @property
    def has_room(self) -> bool:
        """Whether the next event finds room."""
        return self._inbox.wait_for_room(0)

    @property
    def has_ended(self) -> bool:
        """Whether nothing is answered any more: it was closed, or its client has left."""
        return self._inbox.is_shut

    def close(self) -> None:
        """Ends the reply and the threads, and lets go of the session. Harmless if repeated."""
        self._inbox.shut()
        self._outbox.shut()
        desk = self._desk
        if desk is None:
            return
        desk.stop()
        if self._thread is not threading.current_thread():
            self._thread.join()
        desk.leave()

    def _listen(self) -> None:
        desk = self._desk
        assert desk is not None
        try:
            desk.open()
            while (arrived := self._inbox.take()) is not None:
                self._handle(desk, arrived)
        except Gone:
            pass
        except BaseException:
            _log.exception("a conversation ended in an error")
        finally:
            self._inbox.shut()

    def _handle(self, desk: Desk, arrived: Arrived | Callable[[], None]) -> None:
        event_id = None
        try:
            if isinstance(arrived, Arrived):
                event_id = desk.event_id(arrived.event)
                desk.handle(arrived)
            else:
                arrived()
        except Fault as fault:
            self._outbox.fault(fault, event_id)
        except OmnijetError as error:
            self._outbox.fault(Fault.of(error), event_id)
        except Gone:
            raise
        except Exception as error:
            _log.exception("an event failed")
            what = f"{type(error).__name__} in the server"
            self._outbox.fault(Fault(what, "internal_error", None, SERVER), event_id)

    def _tell_lost(self) -> None:
        self._lost = False
        raise Fault(
            "events came faster than they are handled, and some are lost", "too_many_events"
        )
