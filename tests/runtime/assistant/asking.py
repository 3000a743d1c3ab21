"""What the tests of the assistant ask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import Kind, TurnRecord
from omnijet.runtime.assistant.seat import Seat
from omnijet.runtime.talk.session import Content

LIMITS: dict[str, Any] = {"seed": 5, "greedy": True, "max_text_tokens": 8, "max_codes": 30}
MEDIA = Path(__file__).parents[2] / "media"
LATE_S = 60.0  # in which something must happen


class Records(list[TurnRecord]):
    """An observer that keeps what it was told."""

    def __call__(self, record: TurnRecord) -> None:
        self.append(record)


def ask(
    assistant: Assistant, seat: Seat, content: Content, kind: Kind = "chat", **options: Any
) -> list[int]:
    """Returns the ids of the answer, which is read to its end."""
    with assistant.turn(kind, seat) as turn:
        for _ in turn.stream(content, preset="fast", **{**LIMITS, **options}):
            pass
        assert turn.reply is not None
        return turn.reply.text_ids


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    waited = threading.Event()
    for _ in range(int(LATE_S / 0.005)):
        if condition():
            return
        waited.wait(0.005)
    raise AssertionError("it never came true")
