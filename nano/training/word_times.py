"""The end of each word of a reply, for the auxiliary head of the Talker's training.

flite prints the phones of a text with their end times. The number of phones of a word comes
from speaking the word alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from rich.progress import track

from omnijet.nano.training.reply_speech import Spoken
from omnijet.nano.world.speech import REPLY_MANNERS, phone_ends

CODES_A_SECOND = 50
PAUSE = "pau"


def word_ends(folder: Path, replies: Sequence[Spoken], jobs: int = 2) -> list[list[int]]:
    """Returns the codec token at which each word of each reply ends; results are kept in a file."""
    path = folder / "word_ends.json"
    known: dict[str, list[int]] = json.loads(path.read_text()) if path.exists() else {}
    missing = sorted({_key(reply) for reply in replies} - known.keys())
    if missing:
        with ThreadPoolExecutor(jobs) as pool:
            found = pool.map(lambda key: _ends(*key.split("/")), missing)
            known |= zip(missing, track(found, "timing words", len(missing)), strict=True)
        staged = path.with_suffix(".part")
        staged.write_text(json.dumps(known))
        os.replace(staged, path)
    return [known[_key(reply)] for reply in replies]


def _key(reply: Spoken) -> str:
    return f"{reply.voice}/{reply.text}"


def _ends(voice: str, text: str) -> list[int]:
    phones = [(phone, end) for phone, end in _phones(voice, text) if phone != PAUSE]
    words = text.split()
    counts = [sum(phone != PAUSE for phone, _ in _phones(voice, word)) for word in words]
    assert sum(counts) == len(phones), f"{text!r} has other phones than its words have"
    ends, at = [], 0
    for count in counts:
        at += count
        ends.append(round(phones[at - 1][1] * CODES_A_SECOND))
    return ends


@lru_cache(maxsize=256)
def _phones(voice: str, text: str) -> tuple[tuple[str, float], ...]:
    return tuple(phone_ends(text, REPLY_MANNERS[voice]))
