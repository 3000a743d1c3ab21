"""The events of one call of a tool that a response makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omnijet.runtime.prompt.tool_text import Call
from omnijet.runtime.realtime.ids import new_id
from omnijet.runtime.realtime.items import Status, function_call
from omnijet.runtime.realtime.stage import Stage


class CallOutput:
    """Tells a client of a call while it is written. One thread uses it.

    Args:
        index: of the item in the response.
    """

    def __init__(
        self, stage: Stage, response_id: str, index: int, name: str, wanted: Callable[[], bool]
    ) -> None:
        self._stage, self._wanted = stage, wanted
        self._place: dict[str, Any] = {"response_id": response_id, "output_index": index}
        self._arguments, self._has_ended = "", False
        self.item = item = function_call(Call(name, ""), new_id("call"), "in_progress")
        item.call = None  # the model reads it once it is whole
        before = stage.history.add(item)
        stage.outbox.send("response.output_item.added", **self._place, item=item.wire())
        stage.outbox.send("conversation.item.added", previous_item_id=before, item=item.wire())

    @property
    def has_ended(self) -> bool:
        """Whether its end was told."""
        return self._has_ended

    def write(self, fragment: str) -> None:
        """Passes on a fragment of the arguments."""
        self._arguments += fragment
        self._event("delta", self._wanted, delta=fragment)

    def end(self, status: Status) -> None:
        """Ends it; only a whole one is read by the model later."""
        item, self._has_ended = self.item, True
        item.facts["arguments"], item.status = self._arguments, status
        if status == "completed":
            self._stage.history.call(item, Call(item.facts["name"], self._arguments))
        self._event("done", name=item.facts["name"], arguments=self._arguments)
        outbox = self._stage.outbox
        outbox.send("response.output_item.done", **self._place, item=item.wire())
        outbox.send(
            "conversation.item.done", previous_item_id=self._stage.history.before(item),
            item=item.wire(),
        )  # fmt: skip

    def _event(self, what: str, wanted: Callable[[], bool] = lambda: True, **fields: str) -> None:
        self._stage.outbox.send(
            f"response.function_call_arguments.{what}", wanted, **self._place,
            item_id=self.item.id, call_id=self.item.facts["call_id"], **fields,
        )  # fmt: skip
