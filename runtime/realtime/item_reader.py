"""Reads the items that clients make."""

from __future__ import annotations

from typing import Any

from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.image import load_image
from omnijet.runtime.media.picture_file import picture_of, quiet_pillow
from omnijet.runtime.media.sizing import Sizing
from omnijet.runtime.prompt.messages import Audio, Image, Message, Text
from omnijet.runtime.prompt.plain import require_plain, require_plain_message
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.prompt.tool_text import Call, require_name, response_text
from omnijet.runtime.realtime.fault import Fault, shown
from omnijet.runtime.realtime.fields import Fields
from omnijet.runtime.realtime.history import History
from omnijet.runtime.realtime.ids import MOST_CHARACTERS, new_id
from omnijet.runtime.realtime.items import (
    Item,
    function_call,
    function_call_output,
    user_message,
)
from omnijet.runtime.realtime.sound_format import HEARD_HZ, SoundFormat, from_base64, heard

MOST_PARTS = 64
LOW_DETAIL_PIXELS = 512 * 512
LEAST_SAMPLES = 800  # 50 ms
MOST_MEDIUM = 32 << 20  # characters of a picture or sound
KINDS = ("message", "function_call", "function_call_output")
MOST_LETTERS = 1 << 19
"""All texts of a conversation have no more: no context holds them, and tokens take memory."""
BETA_PARTS = {"text": "output_text, or input_text of the user", "audio": "output_audio"}


class ItemReader:
    """Makes items. Raises `Fault` about everything that it does not know.

    Args:
        limits: of media.
        history: which has the calls that results belong to.
    """

    def __init__(self, limits: Limits, tokenizer: Tokenizer, history: History) -> None:
        self._limits, self._tokenizer, self._history = limits, tokenizer, history

    def read(self, fields: Fields, form: SoundFormat) -> Item:
        """Returns an item.

        Args:
            form: of sounds.
        """
        kind = fields.choice("type", KINDS)
        fields.only("object", (None, "realtime.item"), "it is realtime.item")
        fields.only("status", (None, "completed", "incomplete", "in_progress"), "no such status")
        if kind == "message":
            item = self._message(fields, form)
            self._require_plain(item)
        else:
            item = self._call(fields) if kind == "function_call" else self._result(fields)
        if fields.take("id") is not None:
            item.id = fields.text("id", MOST_CHARACTERS)
        fields.end()
        self._require_room(item)
        return item

    def _require_room(self, item: Item) -> None:
        letters = item.letters
        if letters and letters + sum(one.letters for one in self._history.items()) > MOST_LETTERS:
            raise Fault(
                f"the conversation would have more than {MOST_LETTERS:,} characters of text: "
                "delete items", "conversation_full", "item",
            )  # fmt: skip

    def _message(self, fields: Fields, form: SoundFormat) -> Item:
        role = fields.choice("role", ("user", "assistant", "system"))
        parts = fields.items("content", MOST_PARTS)
        if not parts:
            raise Fault("a message has at least one part", "invalid_value", fields.path("content"))
        if role == "user":
            read = [self._user_part(part, form) for part in parts]
            return user_message(tuple(one for one, _ in read), [wire for _, wire in read])
        wanted = ("input_text",) if role == "system" else ("output_text", "output_audio")
        words = [_words(part, wanted) for part in parts]
        text = "".join(one.get("text") or one.get("transcript") or "" for one in words)
        message = Message("system" if role == "system" else "assistant", text)
        return Item("message", {"role": role, "content": words}, message)

    def _require_plain(self, item: Item) -> None:
        assert item.message is not None
        try:
            require_plain_message(item.message, "item.content", self._tokenizer)
        except OmnijetError as error:
            raise Fault.of(error, "item.content") from error

    def _call(self, fields: Fields) -> Item:
        call_id = new_id("call")
        if fields.take("call_id") is not None:
            call_id = fields.text("call_id", MOST_CHARACTERS)
        call = Call(fields.text("name", MOST_CHARACTERS), fields.text("arguments"))
        try:
            require_name(call.name, fields.path("name"))
            call.as_written(fields.path("arguments"))
            require_plain(call.arguments, fields.path("arguments"), self._tokenizer)
        except OmnijetError as error:
            raise Fault.of(error, str(error.where)) from error
        return function_call(call, call_id)

    def _result(self, fields: Fields) -> Item:
        call_id = fields.text("call_id", MOST_CHARACTERS)
        path = fields.path("call_id")
        if not self._history.has_call(call_id):
            raise Fault(f"{path}: there is no call {shown(call_id)}", "item_not_found", path)
        path, output = fields.path("output"), fields.text("output")
        try:
            require_plain(output, path, self._tokenizer)
            response_text([output])
        except OmnijetError as error:
            raise Fault.of(error, path) from error
        return function_call_output(call_id, output)

    def _user_part(
        self, part: Fields, form: SoundFormat
    ) -> tuple[Text | Audio | Image, dict[str, Any]]:
        kind = _kind(part, ("input_text", "input_audio", "input_image"))
        if kind == "input_text":
            text = part.text("text")
            part.end()
            return Text(text), {"type": kind, "text": text}
        if kind == "input_audio":
            sound = self._sound(part, form)
            words = part.take("transcript")
            if words is not None:
                words = part.text("transcript")
            part.end()
            return sound, {"type": kind, "transcript": words}
        picture = self._picture(part)
        part.end()
        return picture, {"type": kind}

    def _sound(self, part: Fields, form: SoundFormat) -> Audio:
        path = part.path("audio")
        data = from_base64(part.text("audio", MOST_MEDIUM), path)
        seconds = len(data) / form.width / form.rate_hz
        if seconds > self._limits.media_s:
            raise Fault(
                f"{path}: {seconds:.1f} s, more than {self._limits.media_s:g}",
                "invalid_value",
                path,
            )
        samples = heard(data[: len(data) // form.width * form.width], form)
        if samples.size < LEAST_SAMPLES:
            raise Fault(f"{path}: less than 50 ms of sound", "invalid_value", path)
        return Audio((samples, HEARD_HZ))

    def _picture(self, part: Fields) -> Image:
        path = part.path("image_url")
        url = part.text("image_url", MOST_MEDIUM)
        detail = part.choice("detail", ("auto", "low", "high")) if part.given("detail") else "auto"
        head, _, packed = url.partition(",")
        if not head.lower().startswith("data:image/") or not head.lower().endswith(";base64"):
            raise Fault(
                f"{path}: expected data:image/TYPE;base64,CONTENT: nothing is fetched",
                "invalid_value", path,
            )  # fmt: skip
        content = from_base64(packed, path)
        try:
            with quiet_pillow(), picture_of(content, path) as opened:
                pixels = opened.width * opened.height
            if pixels > self._limits.pixels:
                raise Fault(
                    f"{path}: {pixels:,} pixels, more than {self._limits.pixels:,}",
                    "invalid_value", path,
                )  # fmt: skip
            load_image(content, path)
        except OmnijetError as error:
            raise Fault.of(error, path) from error
        except Fault:
            raise
        except Exception as error:  # whatever Pillow's parsers run into
            raise Fault(f"{path}: the picture cannot be read", "invalid_value", path) from error
        most = self._limits.seen_pixels
        if detail == "low":
            most = min(most, LOW_DETAIL_PIXELS)
        return Image(content, sizing=Sizing(max_pixels=most))


def _words(part: Fields, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Reads a part that is only words."""
    kind = _kind(part, wanted)
    name = "transcript" if kind == "output_audio" else "text"
    text = part.text(name)
    if kind == "output_audio":
        part.only("audio", (None,), "the model reads the words of its answers, not their sound")
    part.end()
    return {"type": kind, name: text}


def _kind(part: Fields, wanted: tuple[str, ...]) -> str:
    given = part.take("type")
    if isinstance(given, str) and given in BETA_PARTS and given not in wanted:
        raise Fault(
            f"{part.path('type')} {given!r}: since the API left its beta it is {BETA_PARTS[given]}",
            "invalid_value", part.path("type"),
        )  # fmt: skip
    return part.choice("type", wanted)
