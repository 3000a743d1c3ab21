"""A conversation with a bundle in this process: the server's events without a socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.chat.transport import Put, Said
from omnijet.runtime.realtime.conversation import Conversation, Gone


class LocalTransport:
    """A `Transport` to an assistant of this process, which it does not close.

    Args:
        assistant: who answers.
        preset: quality of the speech.
    """

    def __init__(self, assistant: Assistant, preset: str = "exact") -> None:
        self._assistant, self._preset = assistant, preset
        self._conversation: Conversation | None = None

    def open(self, put: Put) -> None:
        """See `Transport.open`."""
        self.close()
        ended = self._ended = _Ended()

        def send(event: dict[str, Any]) -> None:
            if ended.is_set:  # of the conversation before
                raise Gone
            put(Said(event))

        self._conversation = Conversation(self._assistant, send, preset=self._preset)
        self._conversation.start()

    def send(self, event: Mapping[str, Any]) -> None:
        """See `Transport.send`."""
        if self._conversation is not None:
            self._conversation.wait_for_room()  # recordings come faster than they are heard
            self._conversation.receive(event)

    def close(self) -> None:
        """See `Transport.close`."""
        if self._conversation is not None:
            self._ended.is_set = True
            self._conversation.close()
            self._conversation = None


class _Ended:
    is_set = False
