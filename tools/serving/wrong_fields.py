"""Values of the wrong kind, at every field of a request and of every event."""

from __future__ import annotations

import base64
import copy
import json
import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

from tools.serving import chat
from tools.serving.attempt import Attempt, Maker, Wrong, told, unclear
from tools.serving.raw import Wire, post, wire
from tools.serving.service import MODEL, Service

Place: TypeAlias = "tuple[str | int, ...]"

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # noqa: E501
SOUND = base64.b64encode(
    b"RIFF" + struct.pack("<I", 3236)
    + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    + b"data" + struct.pack("<I", 3200) + bytes(3200)
).decode()  # fmt: skip
"""A tenth of a second of silence."""
TOOL = {"type": "function", "name": "light", "description": "Turns a light on.",
        "parameters": {"type": "object", "properties": {"room": {"type": "string"}}}}  # fmt: skip
OF_CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": [
            {"type": "text", "text": "Hello"},
            {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ]},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Go on"},
    ],
    "modalities": ["text", "audio"],
    "audio": {"voice": "Chelsie", "format": "pcm16"},
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 4,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["end"],
    "n": 1,
    "tools": [{"type": "function", "function": {
        key: value for key, value in TOOL.items() if key != "type"
    }}],
    "tool_choice": "auto",
}  # fmt: skip
_FORMAT = {"type": "audio/pcm", "rate": 24000}
OF_SESSION: dict[str, Any] = {
    "type": "realtime",
    "instructions": "You help.",
    "output_modalities": ["audio"],
    "max_output_tokens": 100,
    "tools": [TOOL],
    "tool_choice": "auto",
    "audio": {
        "input": {
            "format": _FORMAT,
            "turn_detection": {
                "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300,
                "silence_duration_ms": 500, "create_response": True, "interrupt_response": True,
            },
        },
        "output": {"format": _FORMAT, "voice": "Chelsie"},
    },
}  # fmt: skip
EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "session.update", "session": OF_SESSION},
    {"type": "input_audio_buffer.append", "audio": "AAAAAAAA"},
    {"type": "conversation.item.create", "previous_item_id": "root", "item": {
        "id": "item_mine", "type": "message", "role": "user",
        "content": [{"type": "input_text", "text": "Hello"},
                    {"type": "input_image", "image_url": PIXEL}]}},
    {"type": "conversation.item.create", "item": {
        "type": "function_call_output", "call_id": "call_1", "output": "done"}},
    {"type": "conversation.item.retrieve", "item_id": "item_none"},
    {"type": "conversation.item.delete", "item_id": "item_none"},
    {"type": "conversation.item.truncate", "item_id": "item_none", "content_index": 0,
     "audio_end_ms": 100},
    {"type": "response.create", "response": {
        "output_modalities": ["audio"], "instructions": "You help.", "max_output_tokens": 100,
        "tools": [TOOL], "tool_choice": "auto", "conversation": "auto",
        "metadata": {"mark": "one"}}},
    {"type": "response.cancel", "response_id": "resp_none"},
)  # fmt: skip
CALL = {"type": "function_call", "call_id": "call_1", "name": "light", "arguments": "{}"}
"""What the output of a call belongs to."""
UNSUPPORTED: tuple[tuple[str, Any], ...] = (
    ("n", 2), ("logprobs", True), ("top_logprobs", 3), ("logit_bias", {"5": 1}),
    ("frequency_penalty", 1.5), ("presence_penalty", 1.5), ("functions", [{"name": "x"}]),
    ("function_call", "auto"), ("response_format", {"type": "json_object"}),
    ("prediction", {"type": "content", "content": "x"}), ("web_search_options", {}),
    ("tempersture", 0.5), ("audios", {}), ("", 1), ("__proto__", {}), ("Stream", True),
)  # fmt: skip
OUT_OF_RANGE: tuple[tuple[Place, Any], ...] = (
    (("temperature",), -1), (("temperature",), 1e9), (("top_p",), -0.5), (("top_p",), 2),
    (("max_completion_tokens",), 0), (("max_completion_tokens",), -5), (("seed",), 1.5),
    (("seed",), 10**30), (("audio", "voice"), "nobody"), (("audio", "voice"), ""),
    (("audio", "format"), "aiff"), (("modalities",), ["smell"]), (("modalities",), []),
    (("messages",), []), (("messages", 0, "role"), "robot"), (("messages", 1, "content"), []),
    (("messages", 1, "content", 0, "type"), "smell"),
    (("messages", 1, "content", 1, "input_audio", "format"), "exe"),
    (("messages", 1, "content", 1, "input_audio", "data"), "*not base64*"),
    (("messages", 1, "content", 1, "input_audio", "data"), ""),
    (("messages", 1, "content", 2, "image_url", "url"), "http://127.0.0.1:1/a.png"),
    (("messages", 1, "content", 2, "image_url", "url"), "file:///etc/passwd"),
    (("messages", 1, "content", 2, "image_url", "url"), "/etc/passwd"),
    (("messages", 1, "content", 2, "image_url", "url"), "data:image/png;base64,AAAA"),
    (("messages", 1, "content", 2, "image_url", "url"), "data:text/html,<b>"),
    (("messages", 1, "content", 0, "text"), None), (("stop",), ["x"] * 99),
    (("tool_choice",), "perhaps"), (("tools", 0, "type"), "gadget"),
    (("tools", 0, "function", "name"), "a b\n"), (("model",), "gpt-9"),
)  # fmt: skip
PROBE = "conversation.item.retrieve"


def chat_fields() -> Maker:
    """Returns a maker that goes through all fields and the kinds of wrong values."""
    places = list(_wrong(OF_CHAT, ()))
    return lambda rng, number: _chat(*places[number % len(places)])


def chat_ranges() -> Maker:
    """Returns a maker of values of the right kind that no field has, and of unknown fields."""
    unknown = [((name,), value, name) for name, value in UNSUPPORTED]
    ranged = [(place, value, _name(place)) for place, value in OUT_OF_RANGE]
    places = [*unknown, *ranged]
    return lambda rng, number: _chat(*places[number % len(places)])


def event_fields() -> Maker:
    """Returns a maker that goes through all fields of all events."""
    places = [(event, *wrong) for event in EVENTS for wrong in _wrong(event, ())]
    places = [(event, place, *rest) for event, place, *rest in places if place != ("type",)]
    return lambda rng, number: _event(*places[number % len(places)])


def put(data: Any, place: Place, value: Any) -> Any:
    """Returns a copy of parsed JSON with another value at a place."""
    made = copy.deepcopy(data)
    inner = made
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return made


async def told_event(client: Wire, name: str, field: str | None = None) -> str:
    """Waits for the error event that answers an event of ours, and for a sign of life after it.

    Args:
        name: of our event, which the error repeats.

    Raises:
        Wrong: the error does not say what is wrong, or the conversation is over.
    """
    try:
        error = (await client.until("error"))["error"]
        if fault := unclear(error, field):
            raise Wrong(fault)
        if name and error.get("event_id") != name:
            raise Wrong(f"the error of {name!r} is for {error.get('event_id')!r}: {error}")
        await client.say(type=PROBE, event_id="probe", item_id="item_probe")
        alive = (await client.until("error"))["error"]
        if alive.get("event_id") != "probe":
            raise Wrong(f"a second error: {alive}")
    except (EOFError, ConnectionError) as error:
        raise Wrong(f"the conversation ended: {error}") from error
    return "error event"


async def opened(client: Wire) -> None:
    """Opens a conversation on a connection."""
    answer = await client.upgrade()
    if answer.status != 101:
        raise Wrong(f"no conversation: {answer.status} {answer.body[:200]!r}")
    await client.until("session.created")


def _chat(place: Place, value: Any, field: str) -> Attempt:
    content = json.dumps(put(OF_CHAT, place, value)).encode("utf-8", "surrogatepass")

    async def run(server: Service) -> str:
        async with wire(server.address) as client:
            await client.send(post(chat.PATH, content))
            return told(await client.answer(), field)

    return Attempt(f"chat {_shown(place)} = {json.dumps(value)[:60]}", run)


def _event(event: dict[str, Any], place: Place, value: Any, field: str) -> Attempt:
    made = {"event_id": "mine"} | put(event, place, value)

    async def run(server: Service) -> str:
        async with wire(server.address) as client:
            await opened(client)
            await client.say(type="conversation.item.create", item=CALL)
            await client.say(**made)
            return await told_event(client, "mine", field)

    return Attempt(f"{event['type']} {_shown(place)} = {json.dumps(value)[:60]}", run)


def _wrong(data: Any, place: Place) -> Iterator[tuple[Place, Any, str]]:
    """Yields (place, wrong value, the name of the field) for each field below a place."""
    if place and "properties" not in place:
        yield from ((place, value, _name(place)) for value in _unlike(data))
    if _name(place) in ("parameters", "metadata"):
        return  # of the client's own making
    fields: list[tuple[str | int, Any]] = []
    if isinstance(data, dict):
        fields = list(data.items())
    elif isinstance(data, list):
        fields = list(enumerate(data))
    for key, value in fields:
        yield from _wrong(value, (*place, key))


def _unlike(value: Any) -> tuple[Any, ...]:
    """Returns values that no field takes that takes this one."""
    match value:
        case bool():
            return ("yes", 2, {"x": 1})
        case int() | float():
            return ("abc", {"x": 1}, [1], True)
        case str():
            return (7, True, {"x": 1})
        case list():
            return (7, {"x": 1}, [[1]])
    return (7, "abc", [1])


def _name(place: Place) -> str:
    """Returns the name of the innermost field of a place."""
    return next((step for step in reversed(place) if isinstance(step, str)), "")


def _shown(place: Place) -> str:
    return ".".join(map(str, place))
