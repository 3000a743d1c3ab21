"""`POST /v1/chat/completions`: one turn of the assistant for each request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.turn import AssistantTurn
from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.serve.bridge import Bridge
from omnijet.runtime.serve.bridged import BridgedResponse, Hands, Head
from omnijet.runtime.serve.chat.answer import FINISHES, Answer, usage
from omnijet.runtime.serve.chat.called import SaidAndCalled
from omnijet.runtime.serve.chat.conversation import ConversationReader
from omnijet.runtime.serve.chat.media import MediaReader
from omnijet.runtime.serve.chat.request import ChatRequest, RequestReader
from omnijet.runtime.serve.chat.spoken import SpokenReplies
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.faults import json_bytes
from omnijet.runtime.serve.fields import root_of
from omnijet.runtime.serve.turns import one_turn, whole_reply
from omnijet.runtime.talk.reply import Reply, TextDelta
from omnijet.runtime.talk.stream import Event

Item = Head | bytes


class ChatEndpoint:
    """Answers requests for chat completions. One event loop uses it."""

    def __init__(self, config: ServeConfig, assistant: Assistant, model: str, hands: Hands) -> None:
        self._assistant, self._hands = assistant, hands
        self._spoken = SpokenReplies()
        bundle = assistant.omni.bundle
        voices = tuple(bundle.manifest.voices) if bundle.speaks() else ()
        media, tokenizer = MediaReader(assistant.limits), assistant.omni.model.tokenizer
        conversation = ConversationReader(media, self._spoken, tokenizer)
        self._reader = RequestReader(conversation, model, voices, config.preset)

    async def __call__(self, request: Request) -> BridgedResponse:
        """Reads a request whole, and leaves the rest to a thread."""
        body = await request.body()
        work = _Work(self._assistant, self._reader, self._spoken, body)
        return BridgedResponse(Bridge(work.run, "chat"), self._hands)


@dataclass(slots=True)
class _Work:
    """What the thread of one request does."""

    assistant: Assistant
    reader: RequestReader
    spoken: SpokenReplies
    body: bytes

    def run(self, bridge: Bridge[Item]) -> None:
        asked = self.reader.read(root_of(self.body))
        self.body = b""
        with one_turn(self.assistant, "chat", asked.history, bridge) as turn:
            audio_id = None if asked.sound is None else self.spoken.new_id()
            id = f"chatcmpl-{turn.id.removeprefix('turn_')}"  # the log has it, too
            answer = Answer(id, self.reader.model, asked.sound, audio_id)
            ids = self.assistant.omni.model.dims.tokens
            one = _Turn(turn, asked, answer, self.spoken, ids)
            one.stream(bridge) if asked.is_streamed else one.whole(bridge)


@dataclass(frozen=True, slots=True)
class _Turn:
    """The turn of a request that has a place."""

    turn: AssistantTurn
    asked: ChatRequest
    answer: Answer
    spoken: SpokenReplies
    ids: TokenIds

    def whole(self, bridge: Bridge[Item]) -> None:
        """Sends the reply in one piece."""
        said = SaidAndCalled(self.asked.tools.names)
        for event in self._events():
            bridge.check()
            if isinstance(event, TextDelta):
                for _ in said.push(event.text):
                    pass
        for _ in said.rest():
            pass
        reply, used = self._outcome()
        whole = self.answer.whole(reply, said, used, _finish(reply, said), self._kept(reply, said))
        bridge.check()
        bridge.put(Head("application/json"))
        bridge.put(json_bytes(whole))

    def stream(self, bridge: Bridge[Item]) -> None:
        """Sends the reply piece by piece."""
        has_begun = False
        for piece in self._pieces():
            if not has_begun:  # an error before the first token has a status of its own
                bridge.put(Head("text/event-stream"))
                has_begun = True
            if self.asked.has_usage:
                piece.setdefault("usage", None)
            bridge.put(b"data: " + json_bytes(piece) + b"\n\n")
        bridge.put(b"data: [DONE]\n\n")

    def _events(self) -> Iterator[Event]:
        return self.turn.stream(self.asked.question, **self.asked.options)

    def _pieces(self) -> Iterator[dict[str, Any]]:
        answer, has_begun = self.answer, False
        said = SaidAndCalled(self.asked.tools.names)
        for event in self._events():
            if not has_begun:
                yield answer.opening()
                has_begun = True
            if isinstance(event, TextDelta):
                yield from map(self._text_or_call, said.push(event.text))
            else:
                yield answer.samples(event.samples)
        if not has_begun:
            yield answer.opening()
        yield from map(self._text_or_call, said.rest())
        reply, used = self._outcome()
        expires = self._kept(reply, said)
        if expires is not None:
            yield answer.expiry(expires)
        yield answer.ending(_finish(reply, said))
        if self.asked.has_usage:
            yield answer.used(used)

    def _outcome(self) -> tuple[Reply, dict[str, Any]]:
        """Returns the reply when it has ended, and its usage."""
        reply = whole_reply(self.turn)
        return reply, usage(reply, self.ids)

    def _text_or_call(self, piece: str | dict[str, Any]) -> dict[str, Any]:
        return self.answer.text(piece) if isinstance(piece, str) else self.answer.call(piece)

    def _kept(self, reply: Reply, said: SaidAndCalled) -> int | None:
        """Remembers what was spoken; None if nothing was."""
        id = self.answer.audio_id
        if id is None or (said.calls and not reply.codes):
            return None
        return self.spoken.keep(id, said.text)


def _finish(reply: Reply, said: SaidAndCalled) -> str:
    finish = FINISHES[reply.finish_reason]
    return "tool_calls" if said.calls and finish == "stop" else finish
