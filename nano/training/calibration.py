"""The stage that writes the calibration set, which `omnijet quantize` measures activations on.

    python -m omnijet.nano.training.calibration

The set is written once and committed. Its conversations cover every skill of the training
set and contain no held-out text, so that `omnijet eval` scores on other conversations.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from rich.progress import track

from omnijet.nano.training.heldout import Archive, store
from omnijet.nano.world import words
from omnijet.nano.world.skills import Item, Utterance, converse, hear, see, watch
from omnijet.nano.world.speech import seen_manner
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT

CALIBRATION = Path(__file__).parent.parent / "calibration.zip"
SKILLS = ("hear", "see", "watch", "converse")
COUNT = 16  # conversations of each skill


def draw(skill: str, rng: Random) -> Item:
    """Draws an item without held-out texts."""
    while True:
        item = _drawn(skill, rng)
        if not any(map(words.held_out, texts(item))):
            return item


def texts(item: Item) -> Iterator[str]:
    """Yields all spoken texts of an item and all answers, the last one included."""
    for parts, answer in item.turns:
        yield answer
        yield from (part.text for part in parts if isinstance(part, Utterance))


def conversation(item: Item, number: int, archive: Archive, rng: Random) -> list[dict[str, Any]]:
    """Stores the media of an item and returns its messages up to the last question."""
    manner = seen_manner(rng)
    system = {"role": "system", "content": [{"type": "text", "text": SPEECH_SYSTEM_PROMPT}]}
    messages: list[dict[str, Any]] = [system]
    for turn, (parts, answer) in enumerate(item.turns):
        name = f"{item.skill}/{number:02d}" + (f"-{turn}" if turn else "")
        content = [store(part, name, manner, archive, rng) for part in parts]
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": answer})
    return messages[:-1]


def _drawn(skill: str, rng: Random) -> Item:
    if skill == "hear":
        return hear(rng, words.training_text(rng, words.utterance))
    if skill == "converse":
        return converse(rng, (words.training_text(rng, words.number),))
    return see(rng) if skill == "see" else watch(rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=CALIBRATION)
    args = parser.parse_args()
    staged = args.out.with_suffix(".part")
    with zipfile.ZipFile(staged, "w", zipfile.ZIP_DEFLATED) as file:
        archive, lines = Archive(file), []
        for number in track(range(COUNT), "calibration"):
            for skill in SKILLS:  # skills alternate: the first few items cover all of them
                rng = Random(f"calibration/{skill}/{number}")
                lines.append(json.dumps(conversation(draw(skill, rng), number, archive, rng)))
        file.writestr("conversations.jsonl", "\n".join(lines) + "\n")
    staged.replace(args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
