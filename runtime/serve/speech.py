"""`POST /v1/audio/speech`: a text, spoken by the model.

The model is no reader of texts, but it speaks what it writes. So it is asked to read the text
aloud, and the text, with the mark that ends a reply, is given to it as what its reply begins with
(`Options.begin`): what is spoken is the text word for word, whatever the model would have said.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.turn import AssistantTurn
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.sound_bytes import SOUND_FORMATS, SoundFormat, sound_bytes
from omnijet.runtime.media.wav import pcm16
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.prompt.plain import require_plain
from omnijet.runtime.serve.bridge import Bridge
from omnijet.runtime.serve.bridged import BridgedResponse, Hands, Head
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.faults import ApiError, told
from omnijet.runtime.serve.fields import Node, root_of
from omnijet.runtime.serve.model_field import check_model
from omnijet.runtime.serve.turns import one_turn, whole_reply
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.talk.options import MOST_BEGIN
from omnijet.runtime.talk.reply import PcmChunk

PROMPT = "Read this aloud, word for word: {text}"
"""What the user is made to say. The reply is the text itself, in any case."""
CODES = 15_000  # five minutes, where a reply of a conversation has a fourth of that
FORMATS: dict[str, SoundFormat] = {
    "mp3": "mp3", "opus": "opus", "flac": "flac", "wav": "wav", "pcm": "pcm16"
}  # fmt: skip
_KNOWN = ("input", "model", "voice", "response_format", "speed", "stream_format", "preset", "seed")
_REFUSED = {"instructions": "the model takes none beside the text"}


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What is to be spoken, and how; `options` are those of a turn, the preset included."""

    text: str
    form: SoundFormat
    options: dict[str, Any]


class SpeechEndpoint:
    """Speaks texts. One event loop uses it."""

    def __init__(self, config: ServeConfig, assistant: Assistant, model: str, hands: Hands) -> None:
        self._hands = hands
        self._assistant, self._name, self._preset = assistant, model, config.preset
        bundle = assistant.omni.bundle
        self._voices = tuple(bundle.manifest.voices) if bundle.speaks() else ()
        special = assistant.omni.model.tokenizer.special_tokens
        spelled = {number: token for token, number in special.items()}
        self._end = spelled[assistant.omni.model.dims.tokens.eos[0]]

    async def __call__(self, request: Request) -> BridgedResponse:
        """Reads a request whole, and leaves the rest to a thread."""
        body = await request.body()

        def work(bridge: Bridge[Head | bytes]) -> None:
            asked = self._read(root_of(body))
            question = parse_messages(
                [
                    {"role": "system", "content": SPEECH_SYSTEM_PROMPT},
                    {"role": "user", "content": PROMPT.format(text=asked.text)},
                ]
            )
            with one_turn(self._assistant, "speech", question[:1], bridge) as turn:
                _speak(bridge, turn, asked)

        return BridgedResponse(Bridge(work, "speech"), self._hands)

    def _read(self, node: Node) -> SpeechRequest:
        """Reads a request.

        Raises:
            ApiError: names the first field that has a fault, and tells of several.
        """
        node.check_keys(_KNOWN, _REFUSED)
        check_model(node.at("model"), self._name)
        text = self._text(node.at("input"))
        voice = node.at("voice").choice(self._voices) if self._voices else None
        if not self._voices:
            node.at("voice").fault("this model has no voice", "unsupported_value")
        form, preset = FORMATS["mp3"], self._preset
        if node.at("response_format").is_given:
            form = FORMATS.get(node.at("response_format").choice(tuple(FORMATS)) or "", form)
        if node.at("preset").is_given:
            preset = node.at("preset").choice(tuple(PRESETS)) or preset
        if node.at("speed").value not in (None, 1):
            node.at("speed").fault("only 1 is supported", "unsupported_value")
        if node.at("stream_format").value not in (None, "audio"):
            node.at("stream_format").fault("only audio is supported", "unsupported_value")
        seed = node.at("seed").whole(0, 2**63 - 1) if node.at("seed").is_given else None
        if node.faults:
            raise node.faults.error()
        assert text is not None
        options = {
            "voice": voice, "speech": True, "preset": preset, "begin": text + self._end,
            "max_text_tokens": MOST_BEGIN, "max_codes": CODES,
        }  # fmt: skip
        return SpeechRequest(text, form, options if seed is None else {**options, "seed": seed})

    def _text(self, node: Node) -> str | None:
        """Returns the text as the tokenizer has it: its characters composed (NFC)."""
        text = node.text(MOST_BEGIN - len(self._end))
        if text is None:
            return None
        text = unicodedata.normalize("NFC", text.strip())
        if not text:
            node.fault("expected a text to speak, got only white space")
        try:
            require_plain(text, node.path, self._assistant.omni.model.tokenizer)
        except OmnijetError as error:
            node.fault(told(error), "invalid_text")
        return text


def _speak(bridge: Bridge[Head | bytes], turn: AssistantTurn, asked: SpeechRequest) -> None:
    """Sends the speech: raw samples as they are made, files when they are whole."""
    head = Head(SOUND_FORMATS[asked.form])
    is_sent = asked.form != "pcm16"
    for event in turn.stream(PROMPT.format(text=asked.text), **asked.options):
        bridge.check()
        if isinstance(event, PcmChunk) and asked.form == "pcm16":
            if not is_sent:
                bridge.put(head)
                is_sent = True
            bridge.put(pcm16(event.samples))
    reply = whole_reply(turn)
    if reply.text != asked.text or reply.finish_reason != "stop":
        # of raw samples a part has been sent: their answer breaks off
        raise ApiError(400, "the text is too long to be spoken at once", "input", "too_long")
    if asked.form != "pcm16":
        bridge.put(head)
        bridge.put(sound_bytes(reply.audio, reply.sample_rate_hz, asked.form))
    elif not is_sent:
        bridge.put(head)
