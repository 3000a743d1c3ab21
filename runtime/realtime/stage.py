"""What all parts of one conversation share."""

from __future__ import annotations

from dataclasses import dataclass, field

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.seat import Seat
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.prompt.system import system_messages
from omnijet.runtime.realtime.history import History
from omnijet.runtime.realtime.ids import new_id
from omnijet.runtime.realtime.items import Item
from omnijet.runtime.realtime.outbox import Outbox
from omnijet.runtime.realtime.settings import Settings


@dataclass(slots=True)
class Stage:
    """One conversation: who answers, what was said, what is set.

    Attributes:
        pace: letters a second of the last whole answer.
    """

    assistant: Assistant
    seat: Seat
    outbox: Outbox
    settings: Settings
    history: History = field(default_factory=History)
    id: str = field(default_factory=lambda: new_id("conv"))
    pace: float | None = None

    def instructions(self, settings: Settings | None = None) -> list[Message]:
        """Returns what the model reads before the items: instructions and tools."""
        settings = settings or self.settings
        own = settings.instructions or None
        text = settings.tools.system_text(own)
        return list(system_messages(text if settings.tools.names else own))

    def messages(self) -> list[Message]:
        """Returns all that the model reads."""
        return [*self.instructions(), *(one.message for one in self.history.readings())]

    def add(self, item: Item, after: str | None = None) -> None:
        """Adds a whole item and tells the client."""
        before = self.history.add(item, after)
        self.tell(item, before)

    def tell(self, item: Item, before: str | None) -> None:
        """Tells the client of a whole item."""
        for what in ("added", "done"):
            self.outbox.send(f"conversation.item.{what}", previous_item_id=before, item=item.wire())
