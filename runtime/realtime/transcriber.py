"""Writes down what the user said, with the same model, when it does not speak."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omnijet.runtime.assistant.turn import AssistantTurn
from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.messages import Audio, Message, Text
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.items import Item
from omnijet.runtime.realtime.outbox import Gone
from omnijet.runtime.realtime.stage import Stage
from omnijet.runtime.realtime.transcription import SYSTEM, Transcription
from omnijet.runtime.talk.reply import Reply, TextDelta

MOST_WAITING = 32
"""Turns that were not written down yet; of more, the oldest are given up, and told."""
MOST_TOKENS = 1024
PATIENCE_S = 0.5
"""How long it waits for a response to begin, which goes first."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    item: Item
    sound: Audio
    how: Transcription
    due: float  # on the clock of `time.monotonic`


class Transcriber:
    """Writes sounds down in a thread of its own, one after another, between responses.

    Args:
        is_idle: whether no response is being made.
    """

    def __init__(self, stage: Stage, is_idle: Callable[[], bool]) -> None:
        self._stage, self._is_idle = stage, is_idle
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._stopping = Cancellation()
        self._turn: AssistantTurn | None = None
        self._thread: threading.Thread | None = None

    def add(self, item: Item, how: Transcription) -> None:
        """Has what was said in an item written down; returns at once."""
        sounds = [part for part in (item.message.parts if item.message else ())
                  if isinstance(part, Audio)]  # fmt: skip
        if not sounds:
            return
        with self._changed:
            self._waiting.append(_Waiting(item, sounds[0], how, time.monotonic() + PATIENCE_S))
            given_up = self._waiting.popleft().item if len(self._waiting) > MOST_WAITING else None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="omnijet-realtime-notes", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
        if given_up is not None:
            self._fail(given_up, Fault("too many turns wait to be written down", "busy_queue"))

    def stop(self) -> None:
        """Ends it. Any thread may call it; `join` waits."""
        self._stopping.cancel()
        with self._changed:
            turn = self._turn
            self._changed.notify_all()
        if turn is not None:
            turn.cancel()

    def go_on(self) -> None:
        """Looks again whether it may begin: a response has ended."""
        with self._changed:
            self._changed.notify_all()

    def join(self) -> None:
        """Waits for the end of the thread."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    while not (self._stopping.is_set or self._may_begin()):
                        self._changed.wait(self._until_due())
                    if self._stopping.is_set:
                        return
                    one = self._waiting.popleft()
                self._write_down(one.item, one.sound, one.how)
        except (Gone, Cancelled):
            pass
        except BaseException:
            _log.exception("the thread that writes down ended in an error")

    def _may_begin(self) -> bool:
        due = bool(self._waiting) and self._waiting[0].due <= time.monotonic()
        return due and self._is_idle()

    def _until_due(self) -> float | None:
        """Returns for how many seconds nothing can begin; None: until somebody says so."""
        left = self._waiting[0].due - time.monotonic() if self._waiting else 0.0
        return left if left > 0 else None

    def _write_down(self, item: Item, sound: Audio, how: Transcription) -> None:
        try:
            text, reply = self._transcript(sound, how)
        except OmnijetError as error:
            self._fail(item, Fault.of(error))
            return
        if self._stopping.is_set:
            return
        item.facts["content"] = [{**item.facts["content"][0], "transcript": text}]
        used = {"input_tokens": reply.prompt_tokens, "output_tokens": len(reply.text_ids)}
        self._event(
            item, "completed", transcript=text,
            usage={"type": "tokens", **used, "total_tokens": sum(used.values())},
        )  # fmt: skip

    def _transcript(self, sound: Audio, how: Transcription) -> tuple[str, Reply]:
        """Asks the model in a conversation apart; what was encoded is not encoded again."""
        assistant = self._stage.assistant
        question = Message("user", (sound, Text(how.prompt)))
        with (
            assistant.borrowed([Message("system", SYSTEM)]) as seat,
            assistant.turn("transcription", seat, self._stopping) as turn,
        ):
            with self._changed:
                self._turn = turn
            self._stopping.check()
            words = [
                event.text
                for event in turn.stream(question, speech=False, max_text_tokens=MOST_TOKENS)
                if isinstance(event, TextDelta)
            ]
            reply = turn.reply
            with self._changed:
                self._turn = None
        assert reply is not None
        return "".join(words).strip(), reply

    def _fail(self, item: Item, fault: Fault) -> None:
        error = {"type": fault.kind, "code": fault.code, "message": str(fault), "param": None}
        self._event(item, "failed", error=error)

    def _event(self, item: Item, what: str, **fields: Any) -> None:
        self._stage.outbox.send(
            f"conversation.item.input_audio_transcription.{what}",
            item_id=item.id, content_index=0, **fields,
        )  # fmt: skip
