"""A client's items have no more text together than is worth reading."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import pytest

from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.prompt.messages import Audio
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.fields import MOST_TEXT, Fields
from omnijet.runtime.realtime.history import History
from omnijet.runtime.realtime.item_reader import MOST_LETTERS, ItemReader
from omnijet.runtime.realtime.items import Item, spoken_message
from omnijet.runtime.realtime.sound_format import SoundFormat


class Spellings:
    """Knows no control tokens."""

    special_tokens: ClassVar[dict[str, int]] = {}

    def encode(self, text: str) -> list[int]:
        return []


def message(count: int) -> dict[str, Any]:
    parts = [{"type": "input_text", "text": "x" * count}]
    return {"type": "message", "role": "user", "content": parts}


def test_more_text_than_any_context_holds_is_refused_and_sound_is_no_text() -> None:
    history = History()
    reader = ItemReader(Limits(), cast(Tokenizer, Spellings()), history)

    def add(wire: dict[str, Any]) -> Item:
        item = reader.read(Fields(wire, "item"), SoundFormat())
        history.add(item)
        return item

    first, count = add(message(MOST_TEXT)), MOST_TEXT
    while count < MOST_LETTERS:
        add(message(MOST_TEXT))
        count += MOST_TEXT
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"}
    for wire in (message(1), call):
        with pytest.raises(Fault, match="characters of text") as found:
            add(wire)
        assert found.value.code == "conversation_full"
    history.add(spoken_message(Audio((np.zeros(1600, np.float32), 16_000)), "item_spoken"))
    history.forget([first])  # the model does not read it any more
    add(call)
    add({"type": "function_call_output", "call_id": "call_1", "output": "yes"})
