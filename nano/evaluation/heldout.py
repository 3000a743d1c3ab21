"""The held-out set: conversations with right answers in one zip file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.archive import UNREADABLE, unpack
from omnijet.runtime.files.bounded import read_bounded_text
from omnijet.runtime.files.json_text import parsed
from omnijet.runtime.leftovers import temporary_folder
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT

HELD_OUT = Path(__file__).parent.parent / "heldout.zip"
LINES = "items.jsonl"
SKILLS = ("hear", "see", "watch", "converse", "speak")
MEDIA = ("audio", "image", "video")
FIX = "use the nano/heldout.zip of the repository"
MOST_BYTES = 64 << 20  # of the file of lines

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HeldOutItem:
    """One conversation of the held-out set.

    Attributes:
        skill: The skill that it tests.
        number: Its number within the skill, from 0.
        messages: The messages up to the last question, with media as paths.
        answer: The right answer to the last question.
        unseen: Whether it is spoken in a voice, speed and pitch that training never used.
        voice: The voice of the reply; None if it is not spoken.
        original: The answer spoken by the speech engine at 16 kHz; None if it is not spoken.
        codes: The codec tokens of `original`.
    """

    skill: str
    number: int
    messages: tuple[Message, ...]
    answer: str
    unseen: bool
    voice: str | None
    original: Path | None
    codes: tuple[int, ...]


@contextmanager
def open_set(path: Path = HELD_OUT) -> Iterator[list[HeldOutItem]]:
    """Yields the items while their media are in a temporary folder.

    Raises:
        OmnijetError: The file is missing or damaged; the error lists every faulty item.
    """
    with temporary_folder("omnijet-heldout-") as folder:
        try:
            unpack(path, Path(folder))
            lines = read_bounded_text(folder / LINES, MOST_BYTES).splitlines()
        except UNREADABLE as error:
            raise OmnijetError(
                "the held-out set cannot be read",
                where=path,
                expected=f"a zip file with {LINES}",
                got=str(error),
                fix=FIX,
            ) from error
        yield _read(lines, Path(folder), path)


def _read(lines: list[str], folder: Path, path: Path) -> list[HeldOutItem]:
    faults: list[str] = []
    items: list[HeldOutItem] = []
    counts = dict.fromkeys(SKILLS, 0)
    for number, line in enumerate(lines, start=1):
        try:
            data = parsed(line)
            wrong = _faults(data, folder)
        except ValueError as error:
            wrong = [str(error)]
        if wrong:
            faults.append(f"line {number}: {'; '.join(wrong)}")
        else:
            item = _item(data, folder, counts)
            items.append(item)
            counts[item.skill] += 1
    if faults or not items:
        raise OmnijetError(
            f"the held-out set is damaged ({len(faults)} faults)",
            where=f"{path}: {LINES}",
            got="\n            ".join(faults) or "no item",
            fix=FIX,
        )
    return items


def _faults(data: Any, folder: Path) -> list[str]:
    """Lists the faults of an item."""
    if not isinstance(data, dict):
        return [f"expected an object, got {type(data).__name__}"]
    skill = data.get("skill")
    aloud = ("voice", "original", "codes") if skill == "speak" else ()
    faults = [f"no {key!r}" for key in ("skill", "turns", "unseen", *aloud) if key not in data]
    if "skill" in data and skill not in SKILLS:
        faults.append(f"unknown skill {skill!r}")
    if not isinstance(data.get("unseen", False), bool):
        faults.append("unseen is neither true nor false")
    if "turns" in data:
        faults += _turns_faults(data["turns"], folder)
    given = {key: data[key] for key in aloud if key in data}
    if not isinstance(given.get("voice", ""), str):
        faults.append("voice is not a string")
    if "original" in given and _file(given["original"], folder) is None:
        faults.append(f"no file {given['original']}")
    if "codes" in given and not _are_codes(given["codes"]):
        faults.append("codes is not a list of whole numbers from 0")
    return faults


def _turns_faults(turns: Any, folder: Path) -> list[str]:
    if not isinstance(turns, list) or not turns:
        return ["turns is not a list of one or more turns"]
    return [
        f"{fault} in turn {number}"
        for number, turn in enumerate(turns, start=1)
        for fault in _turn_faults(turn, folder)
    ]


def _turn_faults(turn: Any, folder: Path) -> list[str]:
    if not isinstance(turn, dict):
        return ["no object"]
    faults = [f"no {key!r}" for key in ("answer", "parts") if key not in turn]
    if "answer" in turn and (not isinstance(turn["answer"], str) or not turn["answer"].split()):
        faults.append("an answer without words")  # an error rate divides by their number
    parts = turn.get("parts", ())
    if "parts" in turn and (not isinstance(parts, list) or not parts):
        return [*faults, "no part"]
    return faults + [fault for part in parts if (fault := _part_fault(part, folder))]


def _part_fault(part: Any, folder: Path) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return None if isinstance(part.get("text"), str) else "a text part without text"
    if kind not in MEDIA:
        return f"a part of unknown type {kind!r}"
    return None if _file(part.get(kind), folder) else f"no file {part.get(kind)}"


def _are_codes(codes: Any) -> bool:
    return (
        isinstance(codes, list)
        and len(codes) > 0
        and all(isinstance(code, int) and code >= 0 for code in codes)
    )


def _item(data: dict[str, Any], folder: Path, counts: dict[str, int]) -> HeldOutItem:
    skill = data["skill"]
    system = {"role": "system", "content": [{"type": "text", "text": SPEECH_SYSTEM_PROMPT}]}
    messages: list[Message] = [system]
    for turn in data["turns"]:
        parts = [_part(part, folder) for part in turn["parts"]]
        messages.append({"role": "user", "content": parts})
        messages.append({"role": "assistant", "content": turn["answer"]})
    aloud = skill == "speak"
    return HeldOutItem(
        skill,
        counts[skill],
        tuple(messages[:-1]),
        messages[-1]["content"],
        data["unseen"],
        data["voice"] if aloud else None,
        _file(data["original"], folder) if aloud else None,
        tuple(data["codes"]) if aloud else (),
    )


def _part(part: dict[str, Any], folder: Path) -> dict[str, Any]:
    kind = part["type"]
    value = str(_file(part[kind], folder)) if kind in MEDIA else part[kind]
    return {"type": kind, kind: value}


def _file(name: Any, folder: Path) -> Path | None:
    """Returns the path of a medium; None if it is missing or outside the folder."""
    if not isinstance(name, str) or "\0" in name:
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
