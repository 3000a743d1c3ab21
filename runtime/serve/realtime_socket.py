"""`/v1/realtime`: a conversation over a WebSocket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, parsed
from omnijet.runtime.realtime.conversation import Conversation, Gone
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.ids import new_id
from omnijet.runtime.serve.faults import api_error
from omnijet.runtime.serve.realtime_outlet import Outlet

T = TypeVar("T")
PROTOCOL = "realtime"
GOING_AWAY, REFUSED, TOO_LARGE, TRY_LATER = 1001, 1008, 1009, 1013
LAST_S = 5.0  # for a client to take the last events
LONG = 1 << 16
"""Characters of a message that is not read on the event loop."""
FULL_WAIT_S = 0.01  # between two looks at whether an event finds room


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How much one client may send, and for how long.

    Attributes:
        characters: of one message.
        garbage: messages in a row that are no events.
        idle_s: without a message of the client.
        longest_s: of the whole conversation.
        send_s: that one message may take to a slow client.
    """

    characters: int = 20 << 20
    garbage: int = 16
    idle_s: float = 1800.0
    longest_s: float = 4 * 3600.0
    send_s: float = 60.0


class RealtimeSocket:
    """Lets clients converse, one conversation a connection. The gate has looked at its headers.

    Args:
        model: name of the model, as clients call it.
        preset: quality of the speech of who names none.
    """

    def __init__(
        self,
        assistant: Assistant,
        model: str,
        preset: str = "exact",
        limits: SocketLimits | None = None,
    ) -> None:
        self._assistant, self._model, self._preset = assistant, model, preset
        self._limits = limits or SocketLimits()

    async def __call__(self, socket: WebSocket) -> None:
        """Converses until one of both ends it."""
        outlet = Outlet()
        conversation = Conversation(
            self._assistant, outlet.put, model=self._model, preset=self._preset
        )
        try:
            await _in_thread(conversation.start)
            refusal: OmnijetError | None = None
        except OmnijetError as error:  # busy, or of a bundle that was closed
            refusal = error
            if await _denied(socket, error):
                return
        try:
            await self._opened(socket, conversation, outlet, refusal)
        finally:
            await asyncio.shield(_in_thread(conversation.close))

    async def _opened(
        self,
        socket: WebSocket,
        conversation: Conversation,
        outlet: Outlet,
        refusal: OmnijetError | None,
    ) -> None:
        offered = socket.scope.get("subprotocols", ())
        await socket.accept(PROTOCOL if PROTOCOL in offered else None)
        sender = asyncio.create_task(self._send(socket, outlet))
        code = GOING_AWAY
        try:
            if refusal is not None:
                code = TRY_LATER if isinstance(refusal, Busy) else GOING_AWAY
                _put_fault(outlet, Fault.of(refusal))
            else:
                self._check_query(socket.query_params)
                code = await self._receive(socket, conversation, sender)
        except Fault as fault:
            _put_fault(outlet, fault)
            code = REFUSED
        except WebSocketDisconnect:
            sender.cancel()
        finally:
            outlet.shut()
            await asyncio.shield(_in_thread(conversation.close))
            await asyncio.wait({sender}, timeout=LAST_S)
            sender.cancel()
            with suppress(WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
                await asyncio.wait_for(socket.close(code), self._limits.send_s)

    def _check_query(self, query: Mapping[str, str]) -> None:
        asked = query.get("model")
        if asked is not None and asked != self._model:
            raise Fault(
                f"there is no model {asked[:80]!r}: expected {self._model!r}",
                "model_not_found", "model",
            )  # fmt: skip
        for name in ("intent", "call_id"):
            if query.get(name) is not None:
                raise Fault(f"{name} is not supported", "unsupported_parameter", name)

    async def _receive(
        self, socket: WebSocket, conversation: Conversation, sender: asyncio.Task[None]
    ) -> int:
        """Passes on what the client sends. Returns the code to close with."""
        loop, garbage = asyncio.get_running_loop(), 0
        ends = loop.time() + self._limits.longest_s
        while not conversation.has_ended and not sender.done():
            wait = min(self._limits.idle_s, ends - loop.time())
            if wait <= 0:
                return GOING_AWAY
            try:
                message = await _first(socket.receive(), sender, wait)
            except asyncio.TimeoutError:
                return GOING_AWAY
            if message is None:
                return GOING_AWAY
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", GOING_AWAY))
            text = message.get("text")
            if text is not None and len(text) > self._limits.characters:
                return TOO_LARGE
            event = await _read(text)
            garbage = garbage + 1 if isinstance(event, Fault) else 0
            if isinstance(event, Fault):
                if garbage >= self._limits.garbage:
                    raise event
                conversation.tell(event)
                continue
            while not conversation.has_room:  # meanwhile nothing is read: the client waits, too
                await asyncio.sleep(FULL_WAIT_S)
            conversation.receive(event)
        return GOING_AWAY

    async def _send(self, socket: WebSocket, outlet: Outlet) -> None:
        """Sends until the outlet is shut, or the client does not read any more."""
        try:
            while (text := await outlet.take()) is not None:
                await asyncio.wait_for(socket.send_text(text), self._limits.send_s)
        except (asyncio.TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            pass
        finally:
            outlet.shut()


async def _read(text: str | None) -> Mapping[str, Any] | Fault:
    """Returns the event of a message; the loop goes on meanwhile if it is long."""
    if text is None or len(text) <= LONG:
        return _event(text)
    return await _in_thread(lambda: _event(text))


def _event(text: str | None) -> Mapping[str, Any] | Fault:
    """Returns the event of a message."""
    if text is None:
        return Fault("a message is text: JSON with sound as base64", "invalid_message")
    try:
        value = parsed(text)
    except BadJson as error:
        return Fault(f"a message is JSON: {str(error)[:200]}", "invalid_json")
    if not isinstance(value, dict):
        return Fault("an event is an object", "invalid_event")
    return value


async def _denied(socket: WebSocket, error: OmnijetError) -> bool:
    """Refuses a connection with the status and headers of HTTP, unless a page in a browser asks.

    A page would not learn them: it gets an event instead.
    """
    known = "websocket.http.response" in socket.scope.get("extensions", {})
    if not known or "origin" in socket.headers:
        return False
    await socket.receive()  # the opening
    await socket.send_denial_response(api_error(error).response())
    return True


def _put_fault(outlet: Outlet, fault: Fault) -> None:
    with suppress(Gone):
        outlet.put_last({"type": "error", "event_id": new_id("event"), "error": fault.wire(None)})


async def _first(receiving: Any, sender: asyncio.Task[None], seconds: float) -> Any:
    """Returns what was received; None if the sender ended before. Raises `TimeoutError`."""
    received = asyncio.ensure_future(receiving)
    try:
        done, _ = await asyncio.wait(
            (received, sender), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if received in done:
            return received.result()
        if not done:
            raise asyncio.TimeoutError
        return None
    finally:
        if not received.done():
            received.cancel()


def _in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """Runs a call that blocks in a thread of its own: a pool could be full of others."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def give(set_: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            set_(value)

    def run() -> None:
        try:
            made = call()
        except BaseException as error:
            outcome: tuple[Callable[[Any], None], Any] = (future.set_exception, error)
        else:
            outcome = (future.set_result, made)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(give, *outcome)

    threading.Thread(target=run, name="omnijet-realtime-call", daemon=True).start()
    return future
