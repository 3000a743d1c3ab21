"""One response: a thread that streams a turn to the client, and can be cut at any moment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from omnijet.runtime.assistant.turn import AssistantTurn
from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.prompt.plain import made_plain
from omnijet.runtime.realtime.answers import SAMPLES_PER_MS, cut_answer, tell_cut
from omnijet.runtime.realtime.fault import SERVER, Fault
from omnijet.runtime.realtime.history import Reading
from omnijet.runtime.realtime.ids import new_id
from omnijet.runtime.realtime.latency import Asked, Latency
from omnijet.runtime.realtime.outbox import Gone
from omnijet.runtime.realtime.output import Output
from omnijet.runtime.realtime.settings import Settings
from omnijet.runtime.realtime.stage import Stage
from omnijet.runtime.realtime.usage import nothing_used, usage
from omnijet.runtime.talk.heard import SpokenReply, loudness_of
from omnijet.runtime.talk.options import MAX_CODES, MAX_TEXT_TOKENS
from omnijet.runtime.talk.reply import Reply, TextDelta

Reason = Literal["turn_detected", "client_cancelled"]
SAMPLES_PER_CODE = 480

_log = logging.getLogger(__name__)


class Response:
    """Makes one answer in a thread of its own; the conversation's other thread may cut it.

    Args:
        metadata: of the client.
        ended: called in the thread, as its last deed.
    """

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        metadata: dict[str, str],
        asked: Asked,
        ended: Callable[[], None],
    ) -> None:
        self.id = new_id("resp")
        self._stage, self._settings, self._metadata = stage, settings, metadata
        self._latency, self._ended = Latency(asked), ended
        self._waiting = Cancellation()  # ends the wait for a place
        self._changing = threading.Lock()
        self._turn: AssistantTurn | None = None
        self._reason: Reason | None = None
        self._played: int | None = None
        self._tells, self._is_done = True, False
        self._usage = nothing_used()
        self._details: dict[str, Any] = {"type": "completed"}
        self._output = Output(stage, settings, self.id, lambda: self._reason is None)
        self._thread = threading.Thread(
            target=self._run, name="omnijet-realtime-mouth", daemon=True
        )

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether nothing is made any more; its last events may still be on their way."""
        return self._is_done

    @property
    def speaks_as(self) -> str | None:
        """The id of the answer's item; None before it began."""
        item = self._output.item
        return None if item is None else item.id

    @property
    def sent(self) -> int:
        """Samples that were sent."""
        item = self._output.item
        return 0 if item is None or item.paced is None else item.paced.sent

    def cut(self, reason: Reason, played: int | None = None, *, tells: bool = True) -> None:
        """Ends the answer; no word or sound of it is sent once this returns.

        Harmless if repeated, and when it is done.

        Args:
            played: samples that were heard; by default what was paced out.
            tells: whether the client is told where the answer was cut.
        """
        item = self._output.item
        with self._changing:
            if self._is_done:
                return
            if self._reason is None:
                self._tells = tells
                if item is not None and item.paced is not None:
                    item.paced.stop()
                    self._played = item.paced.played() if played is None else played
                self._reason = reason
            turn = self._turn
        self._waiting.cancel()
        if turn is not None:
            turn.cancel(self._played)
        self._stage.outbox.settle()

    def join(self) -> None:
        """Waits for the end."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._respond()
        except Gone:
            pass
        except BaseException:
            _log.exception("a response ended in an error")
        finally:
            self._is_done = True
            self._ended()

    def _respond(self) -> None:
        self._stage.outbox.send("response.created", response=self._wire("in_progress"))
        try:
            with self._stage.assistant.turn("realtime", self._stage.seat, self._waiting) as turn:
                with self._changing:
                    self._turn = turn
                if self._reason is None:
                    self._stream(turn)
        except Cancelled:
            pass
        except OmnijetError as error:
            self._fail(Fault.of(error))
        except Gone:
            raise
        except Exception as error:
            _log.exception("a turn failed")
            self._fail(
                Fault(f"{type(error).__name__} in the server", "internal_error", None, SERVER)
            )
        with self._changing:
            self._is_done = True  # from here on it is not cut any more
        if self._reason is not None:
            self._details = {"type": "cancelled", "reason": self._reason}
        self._finish()

    def _stream(self, turn: AssistantTurn) -> None:
        session, settings = self._stage.seat.session, self._settings
        readings = self._stage.history.readings()
        messages = [
            *self._stage.instructions(settings), *(one.message for one in readings),
        ]  # fmt: skip
        question = Message("user", "")
        if readings and messages[-1].role != "assistant":
            question = messages.pop()
        session.overflow = "drop oldest" if settings.drops_oldest else "error"
        session.messages = list(messages)
        began, written = time.perf_counter(), 0
        try:
            for event in turn.stream(question, preset=settings.preset, **self._options()):
                if isinstance(event, TextDelta):
                    written += len(event.ids)
                    self._output.write(event.text)
                    continue
                samples, is_last = event.samples, False
                if settings.max_output_tokens is not None:
                    room = max(settings.max_output_tokens - written, 0) * SAMPLES_PER_CODE
                    is_last = event.start_sample + samples.size >= room
                    samples = samples[: max(room - event.start_sample, 0)]
                at = time.perf_counter()
                if samples.size and self._output.say(samples):
                    self._latency.mark("first_pcm", at)
                if is_last:
                    self._details = {"type": "incomplete", "reason": "max_output_tokens"}
                    turn.cancel(self.sent)
            if self._reason is None:
                self._output.settle()
        finally:
            reply = turn.reply
            if reply is not None:
                self._note(turn, reply, began, [*messages, question])
                self._remember(reply, readings)

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        limit = settings.max_output_tokens
        options: dict[str, Any] = {
            "speech": settings.modality == "audio",
            "max_text_tokens": MAX_TEXT_TOKENS if limit is None else min(limit, MAX_TEXT_TOKENS),
            "max_codes": MAX_CODES if limit is None else min(limit + 1, MAX_CODES),
        }
        if settings.modality == "audio":
            options["voice"] = settings.voice
        tools = settings.tools
        if tools.names:
            options |= {"unspoken": tools.unspoken, "stop": tools.stop}
        if tools.begin:
            options["begin"] = tools.begin
        return options

    def _note(self, turn: AssistantTurn, reply: Reply, began: float, fed: list[Message]) -> None:
        """Keeps what came of the turn."""
        for name in ("first_text", "first_code"):  # of one clock, or they may swap
            if name in reply.latency_ms:
                self._latency.mark(name, began + reply.latency_ms[name] / 1e3)
        if self._latency.asked.pause_ms is not None and "first_pcm" in self._latency.ms:
            turn.note(latency_ms={"speech_end": self._latency.ms["first_pcm"]})
        self._usage = usage(reply, fed, self._settings.max_output_tokens)
        if reply.finish_reason in ("length", "codes", "context"):
            self._details = {"type": "incomplete", "reason": "max_output_tokens"}
        elif reply.finish_reason == "cancelled" and self._details["type"] == "completed":
            code = "time_limit" if turn.is_late else "closing"
            self._details = {"type": "failed", "error": {"type": SERVER, "code": code}}

    def _remember(self, reply: Reply, fed: list[Reading]) -> None:
        """Makes the answer a part of the conversation, as far as it was heard."""
        held = {id(message) for message in self._stage.seat.session.messages}
        dropped = [item for one in fed[:-1] if id(one.message) not in held for item in one.items]
        self._stage.history.forget(dropped)
        item, stage = self._output.item, self._stage
        if item is None:
            return
        text = made_plain(self._output.text, stage.seat.session.model.tokenizer)
        if item.paced is None:
            stage.history.read(item, Message("assistant", text))
            return
        is_whole = reply.finish_reason not in (None, "cancelled")
        item.spoken = SpokenReply(text, loudness_of(reply.audio), is_whole)
        item.pace = stage.pace
        if reply.finish_reason == "stop":
            stage.pace = item.spoken.letters_per_second or stage.pace
        cut_answer(stage, item, self._heard(reply))

    def _heard(self, reply: Reply) -> int:
        """Returns how many samples of the answer count as heard."""
        if self._reason is not None:
            return self._played or 0
        return self.sent

    def _fail(self, fault: Fault) -> None:
        if self._reason is None:
            self._stage.outbox.fault(fault)
        self._details = {"type": "failed", "error": {"type": fault.kind, "code": fault.code}}

    def _finish(self) -> None:
        status = self._details["type"]
        item = self._output.item
        was_cut = item is not None and item.spoken is not None and self._reason is not None
        self._output.end("completed" if status == "completed" else "incomplete")
        self._stage.outbox.send("response.done", response=self._wire(status))
        if item is not None and was_cut:
            cut_answer(self._stage, item, self._played or 0)
            if self._tells:
                tell_cut(self._stage, item, (self._played or 0) // SAMPLES_PER_MS)

    def _wire(self, status: str) -> dict[str, Any]:
        is_done = status != "in_progress"
        metadata = {**self._metadata, **(self._latency.metadata() if is_done else {})}
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": self._details if is_done and status != "completed" else None,
            "output": [item.wire() for item in self._output.items],
            "conversation_id": self._stage.id,
            "metadata": metadata or None,
            "usage": self._usage if is_done else None,
            **self._settings.response_wire(),
        }
