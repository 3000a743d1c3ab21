"""A conversation in the chat format of the HF processor, checked.

    [{"role": "user", "content": "Hello"},
     {"role": "user", "content": [{"type": "image", "image": "cat.png"},
                                  {"type": "text", "text": "What is this?"}]}]

Media are files, what holds a file's content, or arrays, see `AudioSource`, `ImageSource` and
`VideoSource`; nothing is opened here. The keys "path" and "url" are read as that of the type, and
"base64" of a picture, too, as transformers' chat templates have them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from PIL import Image as PillowImage

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.audio import AudioSource
from omnijet.runtime.media.image import ImageSource
from omnijet.runtime.media.pcm import RawFormat
from omnijet.runtime.media.sizing import (
    ALL_KEYS,
    AS_THE_MODEL_HAS_IT,
    PICTURE_KEYS,
    Fault,
    Sizing,
)
from omnijet.runtime.media.source import fault_of, is_source
from omnijet.runtime.media.video import VideoSource
from omnijet.runtime.prompt.medium import Medium

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
MESSAGE_KEYS = ("role", "content")


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is passed on unchanged: special tokens spelled out in it are parsed."""

    text: str


@dataclass(slots=True, eq=False)
class Image:
    """A picture.

    Attributes:
        source: None once a picture in memory was preprocessed.
        medium: what it was preprocessed into; None before.
        sizing: wishes about its size.
    """

    source: ImageSource | None
    medium: Medium | None = field(default=None, repr=False)
    sizing: Sizing = AS_THE_MODEL_HAS_IT


@dataclass(slots=True, eq=False)
class Audio:
    """A sound, with the attributes of `Image`.

    Attributes:
        raw: how the samples of a file without a header are written.
    """

    source: AudioSource | None
    medium: Medium | None = field(default=None, repr=False)
    raw: RawFormat | None = None


@dataclass(slots=True, eq=False)
class Video:
    """A clip, with the attributes of `Image`; a prompt decides whether its clips are heard."""

    source: VideoSource | None
    medium: Medium | None = field(default=None, repr=False)
    sizing: Sizing = AS_THE_MODEL_HAS_IT


Part: TypeAlias = Text | Image | Audio | Video
PARTS: dict[str, type[Text] | type[Image] | type[Audio] | type[Video]] = {
    "text": Text,
    "image": Image,
    "audio": Audio,
    "video": Video,
}
_EXPECTED = {
    "text": "a string",
    "image": "a file, bytes, a PIL image or an array",
    "audio": "a file, bytes, an array or (array, sample rate)",
    "video": "a file, bytes, an array or a sequence of frames",
}
_OTHER_KEYS: dict[str, tuple[str, ...]] = {
    "text": (),
    "image": ("path", "url", "base64"),
    "audio": ("path", "url"),
    "video": ("path", "url"),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "text": (),
    "image": PICTURE_KEYS,
    "audio": ("format",),
    "video": ALL_KEYS,
}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation."""

    role: Role
    content: str | tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts; a plain string is one part."""
        return (Text(self.content),) if isinstance(self.content, str) else self.content


def parse_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Checks a conversation.

    Raises:
        OmnijetError: lists every unknown role, key or type, every content of a wrong kind
            and every file that is not there.
    """
    faults: list[str] = []
    parsed: list[Message] = []
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        faults.append(f"expected a list of messages, got {_name(messages)}")
    elif not messages:
        faults.append("there is no message")
    else:
        for number, message in enumerate(messages, start=1):
            parsed.append(_message(message, f"message {number}", faults))
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise OmnijetError(
            f"the conversation cannot be used ({count})",
            where="messages",
            expected='[{"role": "user", "content": "..." or [{"type": "text", "text": "..."}]}]',
            got="\n            ".join(faults),
        )
    return tuple(parsed)


def _message(message: Any, where: str, faults: list[str]) -> Message:
    if not isinstance(message, Mapping):
        faults.append(f"{where}: expected an object, got {_name(message)}")
        return Message("user", "")
    _check_keys(message, MESSAGE_KEYS, where, faults)
    role = message.get("role")
    if "role" in message and (not isinstance(role, str) or role not in ROLES):
        faults.append(f"{where}: unknown role {_shown(role)}{_hint(_shown(role), ROLES)}")
    content = message.get("content", "")
    if not isinstance(content, str):
        if isinstance(content, Sequence) and not isinstance(content, bytes):
            parts = [
                _part(part, f"{where}, part {number}", faults)
                for number, part in enumerate(content, start=1)
            ]
            content = tuple(part for part in parts if part is not None)
        else:
            faults.append(f"{where}: content must be a string or a list, not {_name(content)}")
            content = ""
    else:
        _check_text(content, where, faults)
    return Message(cast(Role, role), content)


def _part(part: Any, where: str, faults: list[str]) -> Part | None:
    if not isinstance(part, Mapping):
        faults.append(f"{where}: expected an object, got {_name(part)}")
        return None
    if "type" not in part:
        faults.append(f"{where}: no type; expected one of {', '.join(PARTS)}")
        return None
    kind = part["type"]
    if not isinstance(kind, str) or kind not in PARTS:
        shown = _shown(kind)
        faults.append(f"{where}: unknown type {shown}{_hint(shown, tuple(PARTS))}")
        return None
    key, value = _source(part, kind, where, faults)
    if key is None:
        return None
    if not _fits(kind, value):
        faults.append(f"{where}: {key} must be {_EXPECTED[kind]}, not {_name(value)}")
        return None
    if kind == "text":
        _check_text(value, where, faults)
        return Text(value)
    before = len(faults)
    _check_sources(value, where, faults)
    sizing = _sizing(part, kind, where, faults)
    raw = _raw_format(part, value, where, faults) if kind == "audio" else None
    if len(faults) > before:
        return None
    if kind == "audio":
        return Audio(value, raw=raw)
    return Image(value, sizing=sizing) if kind == "image" else Video(value, sizing=sizing)


def _source(
    part: Mapping[str, Any], kind: str, where: str, faults: list[str]
) -> tuple[str | None, Any]:
    """Returns the key that has the content of a part, and the content; no key after a fault."""
    given = [key for key in (kind, *_OTHER_KEYS[kind]) if key in part]
    key = given[0] if given else kind
    optional = _OPTIONAL[kind]
    if not _check_keys(part, ("type", key), where, faults, (*optional, *given[1:])):
        return None, None
    if len(given) > 1:
        faults.append(f"{where}: more than one source: {', '.join(given)}")
        return None, None
    value = part[key]
    if key == "base64" and isinstance(value, str) and not value.startswith("data:"):
        value = f"data:;base64,{value}"
    return key, value


def _check_sources(value: Any, where: str, faults: list[str]) -> None:
    """Notes what is seen of files without opening them."""
    if is_source(value):
        fault = fault_of(value)
        if fault is not None:
            faults.append(f"{where}: {fault.got}" + (f"; {fault.fix}" if fault.fix else ""))
    elif isinstance(value, Sequence) and not isinstance(value, tuple | np.ndarray):
        for number, frame in enumerate(value, start=1):
            _check_sources(frame, f"{where}, frame {number}", faults)


def _sizing(part: Mapping[str, Any], kind: str, where: str, faults: list[str]) -> Sizing:
    """Returns the wishes about the size of a picture or clip."""
    wrong: list[Fault] = []
    known = {key: part[key] for key in _OPTIONAL[kind] if key in part}
    sizing = AS_THE_MODEL_HAS_IT if kind == "audio" else Sizing.of(known, wrong)
    faults.extend(
        f"{where}: {key}: expected {wanted}, got {_shown(got)}" for key, wanted, got in wrong
    )
    return sizing


def _raw_format(
    part: Mapping[str, Any], value: Any, where: str, faults: list[str]
) -> RawFormat | None:
    """Returns how the raw samples of a sound are written, if the part says so."""
    given = part.get("format")
    if given is None:
        return None
    if not is_source(value):
        faults.append(f"{where}: format is for raw PCM in a file or bytes, not for an array")
    elif not isinstance(given, str):
        faults.append(f"{where}: format must be a string, not {_name(given)}")
    else:
        try:
            return RawFormat.parse(given)
        except ValueError as error:
            faults.append(f"{where}: format: {error}")
    return None


def _check_text(text: str, where: str, faults: list[str]) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        faults.append(f"{where}: not valid UTF-8 from character {error.start} on")


def _fits(kind: str, value: Any) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if isinstance(value, np.ndarray) or is_source(value):
        return True
    if kind == "image":
        return isinstance(value, PillowImage.Image)
    if kind == "audio":
        return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], np.ndarray)
    return isinstance(value, Sequence) and all(_fits("image", frame) for frame in value)


def _check_keys(
    data: Mapping[str, Any],
    known: tuple[str, ...],
    where: str,
    faults: list[str],
    optional: tuple[str, ...] = (),
) -> bool:
    """Notes missing and unknown keys; returns whether all of `known` are there."""
    missing = [key for key in known if key not in data]
    unknown = [key for key in data if key not in (*known, *optional)]
    for key in unknown:
        near = _hint(key, tuple(missing)) or _near(key, optional)
        faults.append(f"{where}: unknown key {key!r}{near}")
    for key in missing:
        faults.append(f"{where}: no {key!r}")
    return not missing


def _hint(word: Any, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; expected {' or '.join(repr(item) for item in known)}" if known else ""


def _near(word: Any, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.7)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _name(value: Any) -> str:
    return type(value).__name__
