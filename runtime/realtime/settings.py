"""What a client may set of its session, and of a single response."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.plain import require_plain
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.prompt.tools import Tools
from omnijet.runtime.realtime.fault import Fault, shown
from omnijet.runtime.realtime.fields import Fields
from omnijet.runtime.realtime.sound_format import SoundFormat
from omnijet.runtime.realtime.tool_settings import tools_of
from omnijet.runtime.realtime.transcription import LANGUAGES, Transcription
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.voice.detector import Pauses

Modality = Literal["audio", "text"]
MOST_OUTPUT_TOKENS = 4096
FORMATS = ("audio/pcm", "audio/pcmu", "audio/pcma")
MOST_PAUSE_MS = 10_000
MOST_PREFIX_MS = 5_000
BETA = {
    "modalities": "since the API left its beta it is output_modalities",
    "voice": "since the API left its beta it is audio.output.voice",
    "input_audio_format": "since the API left its beta it is audio.input.format",
    "output_audio_format": "since the API left its beta it is audio.output.format",
    "input_audio_transcription": "since the API left its beta it is audio.input.transcription",
    "input_audio_noise_reduction": "since the API left its beta it is audio.input.noise_reduction",
    "turn_detection": "since the API left its beta it is audio.input.turn_detection",
    "speed": "since the API left its beta it is audio.output.speed",
    "max_response_output_tokens": "since the API left its beta it is max_output_tokens",
    "temperature": "the API has had none since it left its beta",
}
"""What clients of the beta send, and where it went."""


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """When the server takes the user's turn as begun and ended, and what it does then."""

    pauses: Pauses = field(default_factory=Pauses)
    create_response: bool = True
    interrupt_response: bool = True

    def wire(self) -> dict[str, Any]:
        """Returns it as a session has it."""
        return {
            "type": "server_vad",
            "threshold": self.pauses.threshold,
            "prefix_padding_ms": self.pauses.prefix_ms,
            "silence_duration_ms": self.pauses.silence_ms,
            "create_response": self.create_response,
            "interrupt_response": self.interrupt_response,
            "idle_timeout_ms": None,
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a session, or of one response of it.

    Attributes:
        max_output_tokens: written and said together; None: there is no limit but the model's.
        tools: what the model may call; `tools_wire` and `choice_wire` are how the client said it.
        drops_oldest: whether the oldest questions and answers go when the context is full.
    """

    model: str
    instructions: str = SPEECH_SYSTEM_PROMPT
    modality: Modality = "audio"
    input_format: SoundFormat = field(default_factory=SoundFormat)
    output_format: SoundFormat = field(default_factory=SoundFormat)
    turn_detection: TurnDetection | None = field(default_factory=TurnDetection)
    voice: str | None = None
    preset: str = "exact"
    max_output_tokens: int | None = None
    transcription: Transcription | None = None
    drops_oldest: bool = True
    tools: Tools = field(default_factory=Tools)
    tools_wire: tuple[Any, ...] = ()
    choice_wire: Any = "auto"
    is_parallel: bool | None = None

    @staticmethod
    def of(bundle: Bundle, model: str, preset: str) -> Settings:
        """Returns the settings of a new session."""
        if not bundle.speaks():
            return Settings(model, modality="text", preset=preset)
        return Settings(model, voice=bundle.voice_id(None)[0], preset=preset)

    def without_detection(self) -> Settings:
        """Returns the settings of a session whose client says when a turn ends."""
        return replace(self, turn_detection=None)

    def wire(self, id: str) -> dict[str, Any]:
        """Returns the session as events have it."""
        detection, written = self.turn_detection, self.transcription
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": id,
            "model": self.model,
            "output_modalities": [self.modality],
            "instructions": self.instructions,
            "tools": list(self.tools_wire),
            "tool_choice": self.choice_wire,
            "max_output_tokens": self._limit(),
            "truncation": "auto" if self.drops_oldest else "disabled",
            "prompt": None,
            "tracing": None,
            "include": None,
            "audio": {
                "input": {
                    "format": self.input_format.wire(),
                    "transcription": None if written is None else written.wire(),
                    "noise_reduction": None,
                    "turn_detection": None if detection is None else detection.wire(),
                },
                "output": self.output_wire(),
            },
        }

    def output_wire(self) -> dict[str, Any]:
        """Returns how the model speaks."""
        return {
            "format": self.output_format.wire(),
            "voice": self.voice,
            "speed": 1.0,
            "preset": self.preset,
        }

    def response_wire(self) -> dict[str, Any]:
        """Returns what a response has of them."""
        spoken = {"format": self.output_format.wire(), "voice": self.voice}
        return {
            "output_modalities": [self.modality],
            "max_output_tokens": self._limit(),
            "audio": {"output": spoken if self.modality == "audio" else None},
        }

    def _limit(self) -> int | str:
        return "inf" if self.max_output_tokens is None else self.max_output_tokens


class SettingsReader:
    """Reads what a client asks for. Every method raises `Fault` and changes nothing then."""

    def __init__(self, bundle: Bundle, tokenizer: Tokenizer) -> None:
        self._bundle, self._tokenizer = bundle, tokenizer

    def session(self, now: Settings, fields: Fields) -> Settings:
        """Returns the settings after a `session.update`."""
        fields.choice("type", ("realtime",))
        new = self._common(now, fields)
        if fields.given("model") and fields.take("model") not in (None, now.model):
            raise Fault(
                f"session.model {shown(fields.take('model'))}: this session's model is "
                f"{now.model!r}", "unsupported_value", "session.model",
            )  # fmt: skip
        if fields.given("truncation"):
            kind = fields.choice("truncation", ("auto", "disabled"))
            new = replace(new, drops_oldest=kind == "auto")
        fields.only("include", (None, []), "there are no log probabilities")
        fields.only("tracing", (None,), "there are no traces")
        if (audio := fields.child("audio")) is not None:
            if (heard := audio.child("input")) is not None:
                new = self._input(new, heard)
            if (spoken := audio.child("output")) is not None:
                new = self._output(new, spoken)
            audio.end()
        fields.end(BETA)
        return new

    def response(self, now: Settings, fields: Fields) -> tuple[Settings, dict[str, str]]:
        """Returns the settings and the metadata of one response."""
        new = self._common(now, fields)
        fields.only("conversation", (None, "auto"), "every response belongs to the conversation")
        fields.only("input", (None,), "a response answers the conversation: use items")
        metadata = _metadata(fields.child("metadata"))
        if (audio := fields.child("audio")) is not None:
            if (spoken := audio.child("output")) is not None:
                new = self._output(new, spoken)
            audio.end()
        fields.end(BETA)
        return new, metadata

    def _common(self, now: Settings, fields: Fields) -> Settings:
        """Reads what both may set."""
        new = now
        if fields.given("instructions"):
            new = replace(new, instructions=self._instructions(fields))
        if fields.given("output_modalities"):
            new = replace(new, modality=self._modality(fields))
        if fields.given("max_output_tokens"):
            limit = fields.take("max_output_tokens")
            whole = None
            if limit not in (None, "inf"):
                whole = fields.whole("max_output_tokens", 1, MOST_OUTPUT_TOKENS)
            new = replace(new, max_output_tokens=whole)
        if any([fields.given(name) for name in ("tools", "tool_choice", "parallel_tool_calls")]):
            new = self._with_tools(new, fields)
        fields.only("prompt", (None,), "there are no stored prompts: use instructions")
        fields.only("reasoning", (None,), "the model does not reason apart")
        return new

    def _instructions(self, fields: Fields) -> str:
        if fields.take("instructions") is None:
            return SPEECH_SYSTEM_PROMPT
        text = fields.text("instructions")
        self._require_plain(text, fields.path("instructions"))
        return text

    def _with_tools(self, now: Settings, fields: Fields) -> Settings:
        tools, choice, parallel = list(now.tools_wire), now.choice_wire, now.is_parallel
        if fields.given("tools"):
            tools = [] if fields.take("tools") is None else fields.take("tools")
        if fields.given("tool_choice"):
            choice = "auto" if fields.take("tool_choice") is None else fields.take("tool_choice")
        if fields.given("parallel_tool_calls"):
            parallel = fields.take("parallel_tool_calls")
        made = tools_of(tools, choice, parallel, fields)
        self._require_plain("\n".join(made.lines), fields.path("tools"))
        return replace(
            now, tools=made, tools_wire=tuple(tools), choice_wire=choice, is_parallel=parallel
        )

    def _require_plain(self, text: str, path: str) -> None:
        try:
            require_plain(text, path, self._tokenizer)
        except OmnijetError as error:
            raise Fault.of(error, path) from error

    def _modality(self, fields: Fields) -> Modality:
        given = fields.take("output_modalities")
        if given == ["text"]:
            return "text"
        if given != ["audio"]:
            raise fields.wrong("output_modalities", '["audio"] or ["text"]')
        if not self._bundle.speaks():
            path = fields.path("output_modalities")
            raise Fault(f'{path}: this model has no voice: ["text"]', "unsupported_value", path)
        return "audio"

    def _input(self, now: Settings, fields: Fields) -> Settings:
        new = now
        if fields.given("format"):
            new = replace(new, input_format=_format(fields))
        fields.only("noise_reduction", (None,), "the sound is heard as it is")
        if fields.given("transcription"):
            new = replace(new, transcription=_transcription(now, fields.child("transcription")))
        if fields.given("turn_detection"):
            asked = fields.child("turn_detection")
            detection = None if asked is None else _detection(now.turn_detection, asked)
            new = replace(new, turn_detection=detection)
        fields.end()
        return new

    def _output(self, now: Settings, fields: Fields) -> Settings:
        new = now
        if fields.given("format"):
            new = replace(new, output_format=_format(fields))
        if fields.given("voice"):
            try:
                name, _ = self._bundle.voice_id(fields.text("voice", 256))
            except OmnijetError as error:
                raise Fault.of(error, fields.path("voice")) from error
            new = replace(new, voice=name)
        if fields.given("preset"):
            new = replace(new, preset=fields.choice("preset", tuple(PRESETS)))
        fields.only("speed", (None, 1, 1.0), "the model speaks at its own pace")
        fields.end()
        return new


def _transcription(now: Settings, fields: Fields | None) -> Transcription | None:
    if fields is None:
        return None
    fields.only("model", (None, now.model), f"{now.model!r} itself writes down what it heard")
    fields.only("prompt", (None,), "the model has a prompt of its own here")
    language = None
    if fields.take("language") is not None:
        language = fields.choice("language", tuple(LANGUAGES))
    fields.end()
    return Transcription(now.model, language)


def _format(fields: Fields) -> SoundFormat:
    asked = fields.child("format")
    if asked is None:
        return SoundFormat()
    name = asked.choice("type", FORMATS)
    form = SoundFormat(name)  # type: ignore[arg-type]
    asked.only("rate", (None, form.rate_hz), f"{name} has {form.rate_hz} Hz here")
    asked.end()
    return form


def _detection(now: TurnDetection | None, fields: Fields) -> TurnDetection:
    fields.only("type", ("server_vad",), "only server_vad is there")
    fields.need("type")
    new = now or TurnDetection()
    pauses = new.pauses
    if fields.take("threshold") is not None:
        pauses = replace(pauses, threshold=fields.number("threshold", 0.01, 0.99))
    if fields.take("prefix_padding_ms") is not None:
        pauses = replace(pauses, prefix_ms=fields.whole("prefix_padding_ms", 0, MOST_PREFIX_MS))
    if fields.take("silence_duration_ms") is not None:
        silence = fields.whole("silence_duration_ms", 50, MOST_PAUSE_MS)
        pauses = replace(pauses, silence_ms=silence)
    if fields.take("create_response") is not None:
        new = replace(new, create_response=fields.flag("create_response"))
    if fields.take("interrupt_response") is not None:
        new = replace(new, interrupt_response=fields.flag("interrupt_response"))
    fields.only("idle_timeout_ms", (None,), "the model does not speak unasked")
    fields.end()
    return replace(new, pauses=pauses)


def _metadata(fields: Fields | None) -> dict[str, str]:
    """Reads at most 16 words with short texts."""
    if fields is None:
        return {}
    found = {}
    for name in fields.names():
        if len(name) > 64:
            raise Fault(
                f"{fields.path(name[:64])}: more than 64 characters",
                "invalid_value",
                "response.metadata",
            )
        found[name] = fields.text(name, 512)
    if len(found) > 16:
        raise Fault(
            f"response.metadata has {len(found)} keys, more than 16",
            "invalid_value",
            "response.metadata",
        )
    return found
