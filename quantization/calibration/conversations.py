"""Calibration data: the conversations that activations are measured in.

Each line of a JSONL file is one conversation: the messages that `Omni.generate` takes, with paths
of media relative to the file. A folder of media gives one conversation for each medium. A
built-in set is a zipped JSONL file with its media.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.manifest import hash_file
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.archive import UNREADABLE, unpack
from omnijet.runtime.files.bounded import BadFile, read_bounded_text
from omnijet.runtime.files.json_text import parsed
from omnijet.runtime.files.names import is_address, shorten
from omnijet.runtime.leftovers import temporary_folder
from omnijet.runtime.media.source import is_pipe, readable
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import parse_messages

_log = logging.getLogger(__name__)

NANO = Path(__file__).parents[2] / "nano" / "calibration.zip"
"""Conversations in the world of Omnijet-nano, whose checkpoint understands nothing else."""
GENERAL = Path(__file__).with_name("general.zip")
"""Conversations in several languages, for checkpoints that know them
(`python -m tools.calibration_set`)."""
FEWEST_WORDS = 32_000
"""Vocabularies with fewer ids know no language; published ones have 151,000 and more."""
BUILT_IN = {"nano": NANO, "general": GENERAL}
LINES = "conversations.jsonl"
ENDINGS = {
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "video": (".mp4", ".mkv", ".mov", ".webm", ".avi"),
}
ASKED = {
    "audio": "What do you hear?",
    "image": "Describe this picture.",
    "video": "Describe this clip.",
}
"""The question about a medium of a folder, by kind."""

MOST_BYTES = 256 << 20  # of a JSONL file

Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that end with a question; media are paths.

    Attributes:
        name: where the conversation comes from, for error messages.
    """

    name: str
    messages: Messages


@dataclass(frozen=True, slots=True)
class Conversations:
    """All conversations of one source.

    Attributes:
        digest: sha256 of texts and contents of media, not of paths.
    """

    source: Path
    items: tuple[Conversation, ...]
    digest: str


def fitting_set(vocabulary: int) -> str:
    """Returns the name of the built-in set for a model with so many text ids."""
    return "nano" if vocabulary < FEWEST_WORDS else "general"


@contextmanager
def open_conversations(source: Path) -> Iterator[Conversations]:
    """Yields conversations; their media exist inside the context.

    Args:
        source: a JSONL file, a folder of media, or a zip file like those of `BUILT_IN`.

    Raises:
        OmnijetError: there is no such file, it is empty, or lines are broken (names all of them).
    """
    if source.exists() and not (source.is_dir() or source.is_file()):
        raise OmnijetError(
            "the calibration data cannot be read",
            where=source,
            expected="a file or a folder",
            got="neither: a pipe or a device",
            fix="write the lines to a file first",
        )
    if source.is_dir():
        yield _gathered(source, _of_media(source))
    elif source.suffix == ".zip":
        with temporary_folder("omnijet-calibration-") as folder:
            try:
                unpack(source, Path(folder))
                made = _of_lines(folder / LINES, source)
            except UNREADABLE as error:
                raise OmnijetError(
                    "the calibration set cannot be read",
                    where=source,
                    expected=f"a zip file with {LINES}",
                    got=error,
                    fix="leave --data out, or give data of your own",
                ) from error
            yield _gathered(source, made)
    else:
        try:
            made = _of_lines(source, source)
        except (OSError, BadFile) as error:
            raise OmnijetError(
                "the calibration data cannot be read",
                where=source,
                expected="a JSONL file of conversations in UTF-8, or a folder of media",
                got=error,
            ) from error
        yield _gathered(source, made)


def _gathered(source: Path, items: list[Conversation]) -> Conversations:
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(_described(item.messages), sort_keys=True).encode())
    return Conversations(source, tuple(items), digest.hexdigest())


# -- a folder of media --------------------------------------------------------------------


def _of_media(folder: Path) -> list[Conversation]:
    kinds = {ending: kind for kind, endings in ENDINGS.items() for ending in endings}
    made, others = [], 0
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        kind = kinds.get(path.suffix.lower())
        if kind is None:
            others += 1
            continue
        content = [{"type": kind, kind: str(path)}, {"type": "text", "text": ASKED[kind]}]
        system = {"role": "system", "content": [{"type": "text", "text": SPEECH_SYSTEM_PROMPT}]}
        made.append(Conversation(str(path), [system, {"role": "user", "content": content}]))
    if not made:
        raise OmnijetError(
            "the folder holds no media",
            where=folder,
            expected="files that end in " + ", ".join(kinds),
            got="no file" if not others else f"{others} other files",
        )
    if others:
        _log.warning(
            "%s: %d files are ignored, because their names are not those of media", folder, others
        )
    return made


# -- a JSONL file -------------------------------------------------------------------------


def _of_lines(path: Path, where: Path) -> list[Conversation]:
    """Reads a JSONL file; `where` is the file that the user knows."""
    made, faults = [], []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            messages = _located(parsed(line), path.absolute().parent)
            _check(messages)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
        else:
            made.append(Conversation(f"line {number}", messages))
    if faults:
        raise OmnijetError(
            f"conversations cannot be used ({len(faults)} of {len(faults) + len(made)})",
            where=where,
            expected='[{"role": "user", "content": [...]}] in each line',
            got="\n            ".join(faults),
        )
    if not made:
        raise OmnijetError("there is no conversation in the file", where=where, got="no line")
    return made


def _text(path: Path) -> str:
    return read_bounded_text(path, MOST_BYTES)


def _check(messages: Any) -> None:
    """Checks messages. Raises `ValueError` that names all faults."""
    try:
        found = parse_messages(messages)
    except OmnijetError as error:
        raise ValueError("; ".join(part.strip() for part in str(error.got).split("\n"))) from error
    _with_media(messages, _refuse_pipe)
    if found[-1].role != "user":
        raise ValueError(f"the last message is the {found[-1].role}'s, not a question")


def _refuse_pipe(name: str) -> str:
    if is_pipe(name):
        raise ValueError(f"{shorten(name)} is a pipe, and conversations are read more than once")
    return name


def _located(messages: Any, folder: Path) -> Any:
    """Returns the messages with absolute paths of media; other shapes pass unchanged."""

    def path(value: str) -> str:
        return value if is_address(value) else str(folder / value)

    return _with_media(messages, path)


def _described(messages: Messages) -> Any:
    """Returns the messages with contents of media instead of paths."""

    def digest(value: str) -> str:
        found = readable(value, "medium", shorten(value))
        if isinstance(found, bytes):
            return hashlib.sha256(found).hexdigest()
        return hash_file(found).sha256

    return _with_media(messages, digest)


def _with_media(messages: Any, change: Callable[[str], str]) -> Any:
    if not isinstance(messages, list):
        return messages
    return [
        {**message, "content": [_part(part, change) for part in message["content"]]}
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _part(part: Any, change: Callable[[str], str]) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in ENDINGS:
        return part
    made = dict(part)
    for key in {kind, "path", "url"} & made.keys():
        value = made[key]
        if isinstance(value, str):
            made[key] = change(value)
        elif isinstance(value, list):  # the frames of a clip
            made[key] = [change(item) if isinstance(item, str) else item for item in value]
    return made
