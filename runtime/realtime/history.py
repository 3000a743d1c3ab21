"""The items of one conversation in their order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from omnijet.runtime.prompt.messages import Image, Message, Text
from omnijet.runtime.prompt.tool_text import Call, assistant_text, response_text
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.items import Item

MOST_ITEMS = 2000
MOST_BYTES = 64 << 20
"""Texts, and media that no response has read yet, have no more."""
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Reading:
    """A message as the model reads it, and the items that it is made of."""

    message: Message
    items: tuple[Item, ...]


class History:
    """Keeps items. Threads: any thread may call any method.

    Attributes:
        version: another number after every change of what the model reads.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._items: list[Item] = []
        self.version = 0

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Adds an item at the end, or behind another one; `ROOT` is the beginning.

        Returns:
            The id of the item before it.

        Raises:
            Fault: there is no such item, its id is taken, or there are too many.
        """
        with self._changing:
            self._require_room(item)
            place = len(self._items)
            if after == ROOT:
                place = 0
            elif after is not None:
                place = self._place(after, "previous_item_id") + 1
            self._items.insert(place, item)
            self.version += 1
            return self._items[place - 1].id if place else None

    def get(self, id: str) -> Item:
        """Returns an item. Raises `Fault`."""
        with self._changing:
            return self._items[self._place(id, "item_id")]

    def before(self, item: Item) -> str | None:
        """Returns the id of the item before another one."""
        with self._changing:
            place = next((n for n, one in enumerate(self._items) if one is item), 0)
            return self._items[place - 1].id if place else None

    def last_id(self) -> str | None:
        """Returns the id of the last item."""
        with self._changing:
            return self._items[-1].id if self._items else None

    def delete(self, id: str) -> Item:
        """Takes an item out and returns it. Raises `Fault`."""
        with self._changing:
            item = self._items.pop(self._place(id, "item_id"))
            self.version += 1
            return item

    def read(self, item: Item, message: Message | None) -> None:
        """Changes what the model reads of an item."""
        with self._changing:
            item.message = message
            self.version += 1

    def forget(self, items: Sequence[Item]) -> None:
        """Has the model read some items no more: the context has no room for them."""
        with self._changing:
            for item in items:
                item.is_forgotten, item.message, item.spoken = True, None, None
            self.version += bool(items)

    def call(self, item: Item, call: Call) -> None:
        """Has the model read a call that is whole now."""
        with self._changing:
            item.call = call
            self.version += 1

    def has_call(self, call_id: str) -> bool:
        """Whether there is a call of a tool with this id."""
        with self._changing:
            calls = [one for one in self._items if one.kind == "function_call"]
            return any(one.facts["call_id"] == call_id for one in calls)

    def readings(self) -> list[Reading]:
        """Returns what the model reads, without instructions."""
        with self._changing:
            items = [item for item in self._items if not item.is_forgotten]
        return [_reading(run) for run in _runs(items)]

    @property
    def ends_in_pictures(self) -> bool:
        """Whether the last of what the model reads are pictures that wait for a question."""
        readings = self.readings()
        return bool(readings) and is_shown(readings[-1].items[-1])

    def items(self) -> list[Item]:
        """Returns all items."""
        with self._changing:
            return list(self._items)

    def _require_room(self, item: Item) -> None:
        if any(one.id == item.id for one in self._items):
            raise Fault(f"an item {item.id!r} is there already", "item_exists", "item.id")
        if len(self._items) >= MOST_ITEMS:
            oldest = next((one for one in self._items if one.is_forgotten), None)
            if oldest is not None:
                self._items.remove(oldest)
                return
            raise Fault(
                f"the conversation has {MOST_ITEMS} items: delete some", "conversation_full", "item"
            )
        if sum(one.weight for one in (*self._items, item)) > MOST_BYTES:
            raise Fault(
                f"the conversation would hold more than {MOST_BYTES >> 20} MiB: delete items",
                "conversation_full", "item",
            )  # fmt: skip

    def _place(self, id: str, param: str) -> int:
        for place, item in enumerate(self._items):
            if item.id == id:
                return place
        raise Fault(f"there is no item {id[:80]!r} in the conversation", "item_not_found", param)


def _runs(items: Sequence[Item]) -> list[list[Item]]:
    """Groups what is one message: an answer with its calls, results of tools, and pictures with the
    question that they wait for.
    """
    runs: list[list[Item]] = []
    for item in items:
        if item.message is None and item.call is None and item.result is None:
            continue
        last = runs[-1][-1] if runs else None
        joins = last is not None and (
            (item.result is not None and last.result is not None)
            or (item.call is not None and (last.call is not None or _is_answer(last)))
            or (is_shown(last) and item.message is not None and item.message.role == "user")
        )
        if joins:
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def is_shown(item: Item) -> bool:
    """Returns whether an item of the user holds pictures alone: a question follows."""
    message = item.message
    return (
        message is not None
        and message.role == "user"
        and all(isinstance(part, Image) for part in message.parts)
    )


def _is_answer(item: Item) -> bool:
    return item.message is not None and item.message.role == "assistant"


def _reading(run: list[Item]) -> Reading:
    first = run[0]
    if first.message is not None and len(run) == 1:
        return Reading(first.message, (first,))
    if first.result is not None:
        text = response_text([item.result or "" for item in run])
        return Reading(Message("user", text), tuple(run))
    if is_shown(first):
        read = [item.message for item in run if item.message is not None]
        parts = tuple(part for message in read for part in message.parts)
        return Reading(Message("user", parts), tuple(run))
    said = (
        None
        if first.message is None
        else "".join(part.text for part in first.message.parts if isinstance(part, Text))
    )
    calls = [item.call for item in run if item.call is not None]
    return Reading(Message("assistant", assistant_text(said, calls)), tuple(run))
