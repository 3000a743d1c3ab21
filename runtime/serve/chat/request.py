"""A request for a chat completion: every field is read, or refused by its name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.sound_bytes import SOUND_FORMATS, SoundFormat
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import Message, Text, parse_messages
from omnijet.runtime.prompt.plain import require_plain
from omnijet.runtime.prompt.system import with_system
from omnijet.runtime.prompt.tools import Tools
from omnijet.runtime.serve.chat.conversation import ConversationReader
from omnijet.runtime.serve.faults import ApiError, told
from omnijet.runtime.serve.fields import Node
from omnijet.runtime.serve.model_field import check_model
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.talk.options import MOST_LETTERS, MOST_MARKERS
from omnijet.runtime.talk.session import Content

MODALITIES = ("text", "audio")
MOST_SEED = 2**63 - 1
MOST_LETTERS_ASKED = 1 << 19
"""Characters of all texts of a request: no context holds more, and tokens take memory."""
MOST_STOPS = MOST_MARKERS - 1  # one is for the end of a call
_OWN = ("top_k", "repetition_penalty", "preset", "mm_processor_kwargs")
"""What others call so, too (vLLM), and `preset`, which is ours."""
_KNOWN = (
    "messages", "model", "modalities", "audio", "stream", "stream_options", "temperature",
    "top_p", "seed", "max_completion_tokens", "max_tokens", "n", "stop", "tools",
    "tool_choice", "parallel_tool_calls", *_OWN,
)  # fmt: skip
_MEDIA = ("input_audio", "audio_url", "image_url", "video_url", "video", "data")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
}
"""Fields that are not supported, with the values that ask for nothing."""
_REFUSED = {
    "functions": "replaced by tools",
    "function_call": "replaced by tool_choice",
    "metadata": "nothing is stored",
    "moderation": "replies are not moderated",
    "prediction": "replies are not predicted",
    "prompt_cache_key": "conversations find their caches by themselves",
    "prompt_cache_retention": "caches live as long as there is room",
    "reasoning_effort": "the model does not reason before it answers",
    "safety_identifier": "users are not told apart",
    "user": "users are not told apart",
    "verbosity": "ask for short replies in a message",
    "web_search_options": "there is no web search",
    **dict.fromkeys(_NEUTRAL, "this is not supported"),
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked for.

    Attributes:
        history: all messages before the one that is answered, the system prompt included.
        question: the content of the last message.
        options: those of `Session.stream`, the preset included.
        tools: that the reply may call.
        sound: the format of the speech; None: the reply is not spoken.
        is_streamed: whether the reply is sent as it comes into being.
        has_usage: whether a stream ends with its usage.
    """

    history: tuple[Message, ...]
    question: Content
    options: dict[str, Any] = field(default_factory=dict)
    tools: Tools = field(default_factory=Tools)
    sound: SoundFormat | None = None
    is_streamed: bool = False
    has_usage: bool = False


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Reads requests to one model.

    Attributes:
        model: its name.
        voices: that it can speak with; none: it writes only.
        preset: of who names none.
    """

    conversation: ConversationReader
    model: str
    voices: tuple[str, ...]
    preset: str

    def read(self, node: Node) -> ChatRequest:
        """Reads a whole request.

        Raises:
            ApiError: names the first field that has a fault, and tells of several.
        """
        _check_known(node)
        check_model(node.at("model"), self.model)
        options = _numbers(node)
        options["preset"] = _choice(node.at("preset"), tuple(PRESETS), self.preset)
        options |= _media_options(node.at("mm_processor_kwargs"))
        is_streamed = node.at("stream").is_given and node.at("stream").flag() is True
        sound = self._sound(node, is_streamed, options)
        has_usage = _has_usage(node.at("stream_options"), is_streamed)
        _check_letters(node)
        tools = self._tools(node)
        messages = self.conversation.read(node.at("messages"))
        if node.faults:
            raise node.faults.error()
        if "max_pixels" in options:
            most = self.conversation.media.limits.seen_pixels
            options["max_pixels"] = min(options["max_pixels"], most)
            _shrink(messages, options["max_pixels"])
        options["stop"] = (*options.get("stop", ()), *tools.stop)
        options["unspoken"] = tools.unspoken
        if tools.begin:
            options["begin"] = tools.begin
        history = _conversation(messages, tools, speaks=sound is not None)[:-1]
        question = messages[-1]["content"]
        return ChatRequest(history, question, options, tools, sound, is_streamed, has_usage)

    def _tools(self, node: Node) -> Tools:
        """Reads what may be called."""
        names = ("tools", "tool_choice", "parallel_tool_calls")
        try:
            tools = Tools.of(*(node.at(name).value for name in names))
        except OmnijetError as error:
            node.faults.add(str(error.where or "tools"), told(error))
            return Tools()
        for line in tools.lines:
            try:
                require_plain(line, "tools", self.conversation.tokenizer)
            except OmnijetError as error:
                node.at("tools").fault(told(error), "invalid_text")
        return tools

    def _sound(self, node: Node, is_streamed: bool, options: dict[str, Any]) -> SoundFormat | None:
        """Returns the format of the speech, and adds the voice; None: text only."""
        modalities, audio = node.at("modalities"), node.at("audio")
        wanted = []
        if modalities.is_given:
            wanted = [item.choice(MODALITIES) for item in modalities.items(1, 2)]
            if "text" not in wanted and not modalities.faults:
                modalities.fault('spoken replies come with their text: ["text", "audio"]')
        options["speech"] = "audio" in wanted
        if not options["speech"]:
            if audio.is_given:
                audio.fault('audio goes with modalities: ["text", "audio"]')
            return None
        if not self.voices:
            modalities.fault("this model has no voice", "unsupported_value")
            return None
        if not audio.is_given:
            audio.fault("spoken replies need audio: {voice, format}", "missing_parameter")
            return None
        if not audio.is_object():
            return None
        audio.check_keys(("voice", "format"))
        options["voice"] = audio.at("voice").choice(self.voices)
        return _format(audio.at("format"), is_streamed)


def _check_known(node: Node) -> None:
    """Notes fields that are unknown, or ask for something that is not supported."""
    given = {
        key: value
        for key, value in node.value.items()
        if not any(_is_same(value, neutral) for neutral in _NEUTRAL.get(key, ()))
    }
    Node(given, node.path, node.faults).check_keys(_KNOWN, _REFUSED)
    if node.at("n").is_given and not _is_same(node.value["n"], 1):
        node.at("n").fault("one request has one reply: only 1 is supported", "unsupported_value")


def _check_letters(node: Node) -> None:
    """Raises `ApiError` if there is more text than is worth reading: it would take minutes."""
    letters = _letters(node.value.get("messages"), _MEDIA) + _letters(node.value.get("tools"))
    if letters > MOST_LETTERS_ASKED:
        raise ApiError(
            400, f"messages and tools: expected at most {MOST_LETTERS_ASKED:,} characters of "
            f"text, got {letters:,}", "messages", "context_length_exceeded",
        )  # fmt: skip


def _letters(value: Any, but: Collection[str] = ()) -> int:
    """Returns how many characters of text a value has, some fields left out."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_letters(one, but) for one in value)
    if isinstance(value, Mapping):
        kept = {name: one for name, one in value.items() if name not in but}
        return sum(len(name) + _letters(one, but) for name, one in kept.items())
    return 0


def _is_same(value: Any, neutral: Any) -> bool:
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def _numbers(node: Node) -> dict[str, Any]:
    """Reads what decides over the text's tokens."""
    options: dict[str, Any] = {}
    for name, least, most in (
        ("temperature", 0, 2), ("top_p", 1e-6, 1), ("repetition_penalty", 0.1, 10)
    ):  # fmt: skip
        if node.at(name).is_given:
            options[name] = node.at(name).number(least, most)
    if node.at("top_k").is_given:
        options["top_k"] = node.at("top_k").whole(0, 1 << 20)
    if node.at("seed").is_given:
        options["seed"] = node.at("seed").whole(0, MOST_SEED)
    if node.at("stop").is_given:
        options["stop"] = _stop(node.at("stop"))
    limits = [name for name in ("max_completion_tokens", "max_tokens") if node.at(name).is_given]
    for name in limits:
        options["max_text_tokens"] = node.at(name).whole(1, 1 << 30)
    if len(limits) == 2:
        node.at("max_tokens").fault("it means the same as max_completion_tokens: give one of both")
    return options


def _stop(node: Node) -> tuple[str, ...]:
    """Reads one string or several; the text ends before the first of them."""
    several = isinstance(node.value, list)
    given = node.items(0, MOST_STOPS) if several else iter([node])
    found = [one.text(MOST_LETTERS) for one in given]
    if "" in found:
        node.fault("expected strings of at least one character")
    return tuple(text for text in found if text)


def _media_options(node: Node) -> dict[str, Any]:
    """Reads how clips and pictures are taken, as vLLM has it."""
    options: dict[str, Any] = {}
    if not node.is_given or not node.is_object():
        return options
    node.check_keys(("use_audio_in_video", "fps", "max_pixels", "max_frames"))
    if node.at("use_audio_in_video").is_given:
        options["use_audio_in_video"] = node.at("use_audio_in_video").flag()
    if node.at("fps").is_given:
        options["fps"] = node.at("fps").number(0.01, 100)
    for name in ("max_pixels", "max_frames"):
        if node.at(name).is_given:
            options[name] = node.at(name).whole(1, 1 << 40)
    return options


def _shrink(messages: Sequence[Mapping[str, Any]], pixels: int) -> None:
    """Lowers what the model reads of each picture: a wish of its own would go before the option."""
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image":
                part["max_pixels"] = min(part["max_pixels"], pixels)


def _format(node: Node, is_streamed: bool) -> SoundFormat | None:
    if is_streamed and node.value != "pcm16":
        node.fault("a stream has pcm16 only: other formats need an end", "unsupported_value")
        return None
    found = node.choice(tuple(SOUND_FORMATS))
    return next((form for form in SOUND_FORMATS if form == found), None)


def _has_usage(node: Node, is_streamed: bool) -> bool:
    if not node.is_given or not node.is_object():
        return False
    if not is_streamed:
        node.fault("stream_options go with stream: true")
    node.check_keys(("include_usage", "include_obfuscation"))
    if node.at("include_obfuscation").value not in (None, False):
        node.at("include_obfuscation").fault("this is not supported", "unsupported_parameter")
    wanted = node.at("include_usage")
    return wanted.is_given and wanted.flag() is True


def _choice(node: Node, known: tuple[str, ...], default: str) -> str:
    return (node.choice(known) or default) if node.is_given else default


def _conversation(
    messages: Sequence[Mapping[str, Any]], tools: Tools, speaks: bool
) -> tuple[Message, ...]:
    """Returns the conversation with its system prompt, in which the tools are written out."""
    try:
        parsed = with_system(parse_messages(messages), SPEECH_SYSTEM_PROMPT, speaks=speaks)
        if not tools.names:
            return parsed
        own = None
        if parsed[0].role == "system":
            own = "".join(part.text for part in parsed[0].parts if isinstance(part, Text))
            parsed = parsed[1:]
        return (Message("system", tools.system_text(own)), *parsed)
    except OmnijetError as error:
        raise ApiError(400, told(error), "messages") from error
