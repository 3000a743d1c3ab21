"""One turn of the assistant for one request of a client who may leave at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.assistant.record import Kind
from omnijet.runtime.assistant.turn import AssistantTurn
from omnijet.runtime.cancel import Cancellation
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.serve.bridge import Bridge
from omnijet.runtime.talk.reply import Reply


@contextmanager
def one_turn(
    assistant: Assistant, kind: Kind, history: Sequence[Message], bridge: Bridge[Any]
) -> Iterator[AssistantTurn]:
    """Waits for a place and lends it; waiting and turn end when nobody reads the bridge any more.

    Args:
        history: all messages but the last.

    Raises:
        Busy: there is no room.
        Cancelled: the client has gone while the turn waited.
    """
    with assistant.borrowed(history) as seat:
        abandon = Cancellation()
        bridge.when_gone(abandon.cancel)
        with assistant.turn(kind, seat, abandon) as turn:
            bridge.when_gone(turn.cancel)
            yield turn


def whole_reply(turn: AssistantTurn) -> Reply:
    """Returns the reply of a turn whose stream was read to its end.

    Raises:
        Busy: the server ended it.
    """
    reply = turn.reply
    if reply is None or (reply.finish_reason == "cancelled" and not turn.is_late):
        raise Busy("closing", "the server ended the reply", 5)
    return reply
