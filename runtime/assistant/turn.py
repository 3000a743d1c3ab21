"""One turn of somebody at the assistant."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from omnijet.runtime.assistant.record import Kind, TurnRecord
from omnijet.runtime.assistant.seat import Seat
from omnijet.runtime.assistant.spelled import spelled
from omnijet.runtime.backends.ticket import Ticket
from omnijet.runtime.talk.reply import Reply
from omnijet.runtime.talk.session import Content
from omnijet.runtime.talk.stream import Event, Stream

Asked = Callable[[Content, Callable[[], Stream]], Stream]
"""Makes a stream of a question with what is given, and may look at both."""


def plainly(content: Content, make: Callable[[], Stream]) -> Stream:
    """Makes the stream."""
    return make()


class AssistantTurn:
    """A turn that has a place. One thread streams it; any thread may cancel it.

    Attributes:
        id: for logs and answers.
    """

    def __init__(
        self,
        kind: Kind,
        seat: Seat,
        id: str,
        queued_ms: float = 0.0,
        *,
        keeps_content: bool = False,
        asked: Asked = plainly,
    ) -> None:
        self.id = id
        self._seat = seat
        self._keeps_content, self._asked = keeps_content, asked
        self._began = time.perf_counter()
        self._changing = threading.Lock()
        self._ticket = Ticket()
        self._is_cancelled = self._is_late = False
        self._stream: Stream | None = None
        self._streamed_ms = 0.0  # from the asking to the stream
        self._record = TurnRecord(kind, seat.id, id, queued_ms=queued_ms)

    def stream(self, content: Content, *, preset: str = "exact", **options: Any) -> Iterator[Event]:
        """Yields text and sound as `Session.stream` does; ends early if it was cancelled."""
        session = self._seat.session
        try:
            with self._changing:
                if self._is_cancelled:
                    return
                self._streamed_ms = self._age_ms()
                with self._ticket.used():
                    self._stream = self._asked(
                        content, lambda: session.stream(content, preset=preset, **options)
                    )
            yield from self._stream
        except Exception as error:
            self.note(error=str(error))
            raise

    def cancel(self, played: int | None = None) -> None:
        """Ends the reply, also before it began; see `Stream.cancel`. Harmless if repeated."""
        with self._changing:
            self._is_cancelled = True
            stream = self._stream
        if stream is not None:
            stream.cancel(played)

    def expire(self) -> None:
        """Ends the reply because it took too long: its record says `time`."""
        self._is_late = True
        self.cancel()

    @property
    def is_late(self) -> bool:
        """Whether the reply was ended because it took too long."""
        return self._is_late

    @property
    def reply(self) -> Reply | None:
        """What came so far; None before `stream`."""
        return None if self._stream is None else self._stream.reply

    def note(self, **fields: Any) -> None:
        """Adds to the record what the assistant cannot know: fields of `TurnRecord`."""
        self._record = replace(self._record, **fields)

    def record(self) -> TurnRecord:
        """Returns what is known of the turn."""
        record, reply = replace(self._record, total_ms=self._age_ms()), self.reply
        if record.refused is None and record.error is None:
            record = replace(record, finish_reason=self._finish_reason(reply))
        if reply is None:
            return record
        waited = {name: ms + self._streamed_ms for name, ms in reply.latency_ms.items()}
        record = replace(
            record,
            latency_ms={**waited, **record.latency_ms},
            timings_ms=dict(reply.timings_ms),
            prompt_tokens=reply.prompt_tokens,
            reused_tokens=reply.reused_tokens,
            text_tokens=len(reply.text_ids),
            codes=len(reply.codes),
            audio_s=reply.audio.size / reply.sample_rate_hz,
        )
        return self._with_content(record, reply) if self._keeps_content else record

    def _finish_reason(self, reply: Reply | None) -> str | None:
        reason = None if reply is None else reply.finish_reason
        if reason in (None, "cancelled"):
            return "time" if self._is_late else "cancelled"
        return reason

    def _with_content(self, record: TurnRecord, reply: Reply) -> TurnRecord:
        model = self._seat.session.model
        ids = tuple(reply.prompt_ids.tolist())
        prompt = spelled(ids, model.tokenizer, model.dims.tokens)
        return replace(record, prompt=prompt, prompt_ids=ids, text=reply.text)

    def _age_ms(self) -> float:
        return 1e3 * (time.perf_counter() - self._began)
