"""The items of a conversation, as clients see them and as the model reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from omnijet.runtime.prompt.messages import Audio, Image, Message, Text, Video
from omnijet.runtime.prompt.tool_text import Call
from omnijet.runtime.realtime.ids import new_id
from omnijet.runtime.realtime.paced import Paced
from omnijet.runtime.talk.heard import SpokenReply

Kind = Literal["message", "function_call", "function_call_output"]
Status = Literal["completed", "incomplete", "in_progress"]


@dataclass(slots=True, eq=False)
class Item:
    """One item.

    Attributes:
        facts: what a client is told of it beside id, type and status.
        message: as the model reads it; None: it reads nothing of it.
        spoken: an answer's words with their sound, while it may still be cut.
        pace: letters a second, of the speaker when it was said.
        paced: how much of it has sounded.
        call: of a tool.
        result: of a tool.
        is_forgotten: whether the model does not read it any more: the context had no room.
    """

    kind: Kind
    facts: dict[str, Any]
    message: Message | None = None
    id: str = field(default_factory=lambda: new_id("item"))
    status: Status = "completed"
    spoken: SpokenReply | None = None
    pace: float | None = None
    paced: Paced | None = None
    call: Call | None = None
    result: str | None = None
    is_forgotten: bool = False

    def wire(self) -> dict[str, Any]:
        """Returns the item as events have it."""
        return {
            "id": self.id,
            "object": "realtime.item",
            "type": self.kind,
            "status": self.status,
            **self.facts,
        }

    @property
    def weight(self) -> int:
        """Bytes that are held of it, but for media that were read: the context bounds those."""
        if self.message is None:
            words = "" if self.call is None else self.call.arguments
            return len(self.result or words)
        return sum(_weight(part) for part in self.message.parts)

    @property
    def letters(self) -> int:
        """Characters of text that the model reads of it."""
        if self.is_forgotten:
            return 0
        if self.message is None:
            return self.weight
        return sum(len(part.text) for part in self.message.parts if isinstance(part, Text))


def user_message(parts: tuple[Text | Audio | Image, ...], content: list[dict[str, Any]]) -> Item:
    """Returns a message of the user.

    Args:
        parts: as the model reads it.
        content: as clients are told it.
    """
    return Item("message", {"role": "user", "content": content}, Message("user", parts))


def spoken_message(sound: Audio, id: str) -> Item:
    """Returns what the user said."""
    item = user_message((sound,), [{"type": "input_audio", "transcript": None}])
    item.id = id
    return item


def answer() -> Item:
    """Returns an answer that begins."""
    return Item("message", {"role": "assistant", "content": []}, status="in_progress")


def function_call(call: Call, call_id: str, status: Status = "completed") -> Item:
    """Returns a call of a tool."""
    facts = {"call_id": call_id, "name": call.name, "arguments": call.arguments}
    return Item("function_call", facts, status=status, call=call)


def function_call_output(call_id: str, output: str) -> Item:
    """Returns the result of a call."""
    facts = {"call_id": call_id, "output": output}
    return Item("function_call_output", facts, result=output)


def _weight(part: Text | Audio | Image | Video) -> int:
    if isinstance(part, Text):
        return len(part.text)
    if part.medium is not None:
        return 0
    source: Any = part.source
    if isinstance(source, tuple):
        return int(source[0].nbytes)
    return len(source) if isinstance(source, bytes | str) else 0
