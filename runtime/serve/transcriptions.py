"""`POST /v1/audio/transcriptions`: what the model writes when it is asked to write down a sound.

It is a model that talks, not a recogniser: what it wrote is returned, and nothing checks it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.turn import AssistantTurn
from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.realtime.transcription import LANGUAGES, PROMPT, SYSTEM
from omnijet.runtime.serve.bridge import Bridge
from omnijet.runtime.serve.bridged import BridgedResponse, Hands, Head
from omnijet.runtime.serve.chat.answer import usage
from omnijet.runtime.serve.chat.media import MediaReader
from omnijet.runtime.serve.faults import ApiError, json_bytes
from omnijet.runtime.serve.fields import Faults, Node
from omnijet.runtime.serve.form import Form, parsed_form
from omnijet.runtime.serve.model_field import check_model
from omnijet.runtime.serve.turns import one_turn, whole_reply
from omnijet.runtime.talk.reply import Reply, TextDelta

FORMATS = ("json", "text")
MOST_TOKENS = 8192
_KNOWN = ("model", "language", "response_format", "temperature", "stream")
_REFUSED = {
    "prompt": "the model has a prompt of its own here",
    "include[]": "there is nothing to include",
    "timestamp_granularities[]": "the model writes no times",
    "chunking_strategy": "a sound is heard whole",
    "known_speaker_names[]": "speakers are not told apart",
    "known_speaker_references[]": "speakers are not told apart",
}


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What is asked for: the content of a user's message, and how it is answered."""

    content: list[dict[str, Any]]
    form: str = "json"
    is_streamed: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class TranscriptionEndpoint:
    """Writes sounds down. One event loop uses it."""

    def __init__(self, assistant: Assistant, model: str, hands: Hands) -> None:
        self._hands = hands
        self._assistant, self._model = assistant, model
        self._media = MediaReader(assistant.limits)

    async def __call__(self, request: Request) -> BridgedResponse:
        """Reads a request whole, and leaves the rest to a thread."""
        body, kind = await request.body(), request.headers.get("content-type", "")

        def work(bridge: Bridge[Head | bytes]) -> None:
            asked = self._read(parsed_form(body, kind))
            history = parse_messages([{"role": "system", "content": SYSTEM}])
            with one_turn(self._assistant, "transcription", history, bridge) as turn:
                tokens = self._assistant.omni.model.dims.tokens
                pieces = (
                    _events(turn, asked, tokens)
                    if asked.is_streamed
                    else _whole(turn, asked, tokens)
                )
                media_type = (
                    "text/event-stream"
                    if asked.is_streamed
                    else (
                        "application/json" if asked.form == "json" else "text/plain; charset=utf-8"
                    )
                )
                for number, piece in enumerate(pieces):
                    if not number:
                        bridge.put(Head(media_type))
                    bridge.put(piece)

        return BridgedResponse(Bridge(work, "transcription"), self._hands)

    def _read(self, form: Form) -> TranscriptionRequest:
        """Reads a request.

        Raises:
            ApiError: names the first field that has a fault, and tells of several.
        """
        faults = Faults()
        fields = Node(form.texts, "", faults)
        fields.check_keys(_KNOWN, _REFUSED)
        for name in form.files:
            if name != "file":
                faults.add(name[:100], "only file may be a file", "unknown_parameter")
        check_model(fields.at("model"), self._model)
        kind = fields.at("response_format")
        answer = (kind.choice(FORMATS) or "json") if kind.is_given else "json"
        options: dict[str, Any] = {"speech": False, "max_text_tokens": MOST_TOKENS}
        if fields.at("temperature").is_given:
            options["temperature"] = _number(fields.at("temperature"))
        stream = fields.at("stream")
        is_streamed = stream.is_given and stream.choice(("true", "false")) == "true"
        content = [self._sound(form, faults), {"type": "text", "text": _prompt(fields)}]
        if faults:
            raise faults.error()
        parts = [part for part in content if part is not None]
        return TranscriptionRequest(parts, answer, is_streamed, options)

    def _sound(self, form: Form, faults: Faults) -> dict[str, Any] | None:
        node = Node(form.files.get("file"), "file", faults)
        if not node.is_given:
            node.fault("expected a file with a sound", "missing_parameter")
            return None
        return self._media.sound_of(node, node.value)


def _prompt(fields: Node) -> str:
    node = fields.at("language")
    code = node.choice(tuple(LANGUAGES)) if node.is_given else None
    return PROMPT.format(language="" if code is None else f"{LANGUAGES[code]} ")


def _number(node: Node) -> float | None:
    try:
        value = float(node.value)
    except ValueError:
        value = float("nan")
    return Node(value, node.path, node.faults).number(0, 1)


def _texts(turn: AssistantTurn, asked: TranscriptionRequest) -> Iterator[str]:
    for event in turn.stream(asked.content, **asked.options):
        if isinstance(event, TextDelta) and event.text:
            yield event.text


def _outcome(turn: AssistantTurn) -> Reply:
    reply = whole_reply(turn)
    if reply.finish_reason != "stop":
        raise ApiError(400, "the sound holds more than can be written down at once", "file",
                       "too_long")  # fmt: skip
    return reply


def _whole(turn: AssistantTurn, asked: TranscriptionRequest, ids: TokenIds) -> Iterator[bytes]:
    for _ in _texts(turn, asked):
        pass
    reply = _outcome(turn)
    if asked.form == "text":
        yield f"{reply.text}\n".encode()
        return
    yield json_bytes({"text": reply.text, "usage": _usage(reply, ids)})


def _events(turn: AssistantTurn, asked: TranscriptionRequest, ids: TokenIds) -> Iterator[bytes]:
    for text in _texts(turn, asked):
        yield _event({"type": "transcript.text.delta", "delta": text})
    reply = _outcome(turn)
    done = {"type": "transcript.text.done", "text": reply.text, "usage": _usage(reply, ids)}
    yield _event(done)


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"


def _usage(reply: Reply, ids: TokenIds) -> dict[str, Any]:
    used = usage(reply, ids)
    details = used["prompt_tokens_details"]
    return {
        "type": "tokens",
        "input_tokens": used["prompt_tokens"],
        "output_tokens": used["completion_tokens"],
        "total_tokens": used["total_tokens"],
        "input_token_details": {name: details[name] for name in ("audio_tokens", "text_tokens")},
    }
