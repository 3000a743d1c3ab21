"""What is wrong with an event of a client, as an `error` event tells it."""

from __future__ import annotations

from typing import Any

from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.errors import OmnijetError

INVALID, SERVER = "invalid_request_error", "server_error"
MOST_SHOWN = 60  # characters of a client's value in a message


class Fault(Exception):
    """An event, or one field of it, cannot be used.

    Attributes:
        code: a word for programs.
        param: the field, as a path: `session.audio.output.voice`.
        kind: whose fault it is: `INVALID` or `SERVER`.
    """

    def __init__(
        self, message: str, code: str, param: str | None = None, kind: str = INVALID
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.kind = code, param, kind

    @staticmethod
    def of(error: OmnijetError, param: str | None = None) -> Fault:
        """Returns an error of omnijet as one of this event."""
        if isinstance(error, Busy):
            return Fault(told(error), f"busy_{error.reason}", param, SERVER)
        return Fault(told(error), "invalid_value", param)

    def wire(self, event_id: str | None) -> dict[str, Any]:
        """Returns the error as OpenAI writes it.

        Args:
            event_id: of the client's event.
        """
        return {
            "type": self.kind,
            "code": self.code,
            "message": str(self),
            "param": self.param,
            "event_id": event_id,
        }


def told(error: OmnijetError) -> str:
    """Returns an error in one line."""
    said = [error.what]
    for label in ("expected", "got"):
        value = getattr(error, label)
        if value is not None:
            said.append(f"{label} {' '.join(str(value).split())}")
    if error.fix is not None:
        said.append(error.fix)
    return "; ".join(said)


def shown(value: object) -> str:
    """Returns a client's value for a message, cut short."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
