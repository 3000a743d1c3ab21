"""The model's side of a conversation: one response at a time."""

from __future__ import annotations

from collections.abc import Callable

from omnijet.runtime.realtime.answers import (
    SAMPLES_PER_MS,
    cut_what_sounds,
    require_sound,
    truncate,
)
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.latency import Asked
from omnijet.runtime.realtime.response import Response
from omnijet.runtime.realtime.settings import Settings
from omnijet.runtime.realtime.stage import Stage


class Speaking:
    """Begins, cuts and ends responses. The conversation's own thread uses it.

    Args:
        ended: called in the response's thread when one has ended.
    """

    def __init__(self, stage: Stage, ended: Callable[[], None]) -> None:
        self._stage, self._ended = stage, ended
        self._response: Response | None = None

    @property
    def is_active(self) -> bool:
        """Whether a response is being made."""
        return self._response is not None and not self._response.is_done

    def answer(self, settings: Settings, metadata: dict[str, str], asked: Asked) -> None:
        """Begins a response. Raises `Fault` if one is being made."""
        if self._response is not None and self.is_active:
            raise Fault(
                f"the response {self._response.id} is being made: cancel it, or wait for its "
                "response.done", "conversation_already_has_active_response",
            )  # fmt: skip
        self.join()
        self._response = Response(self._stage, settings, metadata, asked, self._ended)
        self._response.start()

    def interrupt(self) -> Callable[[], None]:
        """Cuts what is being said, also if it only still sounds: the user speaks.

        Returns:
            What is left to do once the client knows that the user speaks.
        """
        response = self._response
        if response is not None and self.is_active:
            response.cut("turn_detected")
            return response.join
        self.join()
        return lambda: cut_what_sounds(self._stage)

    def cancel(self, response_id: str | None) -> None:
        """Ends the response for the client. Raises `Fault` if there is none of this id."""
        response = self._response
        if response is None or not self.is_active or response_id not in (None, response.id):
            named = "" if response_id is None else f" {response_id[:80]!r}"
            raise Fault(
                f"no response{named} is being made", "response_cancel_not_active", "response_id"
            )
        response.cut("client_cancelled")
        response.join()

    def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """Cuts an answer at what its client has heard; one that is being made ends.

        Raises:
            Fault: there is no such item, it is no spoken answer, or shorter.
        """
        item, response = self._stage.history.get(item_id), self._response
        require_sound(item, audio_end_ms)
        if response is not None and response.speaks_as == item_id:
            response.cut("client_cancelled", audio_end_ms * SAMPLES_PER_MS, tells=False)
            response.join()
        truncate(self._stage, item, audio_end_ms)

    def stop(self) -> None:
        """Ends the response. Any thread may call it."""
        response = self._response
        if response is not None:
            response.cut("client_cancelled")

    def join(self) -> None:
        """Waits for the end of the response."""
        if self._response is not None:
            self._response.join()
