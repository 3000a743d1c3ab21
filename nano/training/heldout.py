"""The stage that writes the held-out set, which `omnijet eval` scores on.

    python -m omnijet.nano.training.heldout

The set is written once and committed. Training has no utterance of its texts of three or more
words (`words.held_out`). Half of its speech has a voice, speed and pitch that training never
uses, and its pictures and clips are new. Sounds are stored as Opus, clips as H.264 and AAC.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
from rich.progress import track

from omnijet.nano.training.codec import Codec
from omnijet.nano.training.stage import stage_parser
from omnijet.nano.world import words
from omnijet.nano.world.clips import write_clip
from omnijet.nano.world.skills import Item, Part, Picture, Utterance, converse, hear, see, watch
from omnijet.nano.world.sounds import add_noise
from omnijet.nano.world.speech import RATE_HZ, REPLY_MANNERS, UNSEEN, Manner, say, seen_manner
from omnijet.nano.world.speech_mel import speech_mel, to_speech_rate
from omnijet.runtime.bundle.contract import Array

HELD_OUT = Path(__file__).parent.parent / "heldout.zip"
COUNTS = {"hear": 240, "see": 200, "watch": 200, "converse": 200}
SPOKEN = {"hear": 120, "see": 40, "watch": 20, "converse": 20}
"""The number of items of each skill that also have a spoken answer."""


@dataclass(slots=True)
class Archive:
    """The open zip file of a set, and the lines of its items so far."""

    file: zipfile.ZipFile
    lines: list[str] = field(default_factory=list)

    def sound(self, name: str, samples: Array) -> dict[str, str]:
        """Stores a sound as Opus and returns the part of a message that refers to it."""
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, RATE_HZ, format="OGG", subtype="OPUS")
        self.file.writestr(name, buffer.getvalue())
        return {"type": "audio", "audio": name}

    def add(self, entry: dict[str, Any]) -> None:
        """Adds a line for an item."""
        self.lines.append(json.dumps(entry))


def draw(skill: str, rng: Random) -> Item:
    """Draws an item whose texts are held out."""
    if skill == "hear":
        return hear(rng, words.held_out_text(rng, words.utterance))
    if skill == "see":
        return see(rng)
    if skill == "watch":
        return watch(rng)
    number = words.held_out_text(rng, words.number)
    return converse(rng, (number,))


def entry(item: Item, number: int, archive: Archive, rng: Random) -> dict[str, Any]:
    """Stores the media of an item and returns its line of `items.jsonl`."""
    unseen = number % 2 == 0
    manner = rng.choice(UNSEEN) if unseen else seen_manner(rng)
    heard = any(isinstance(part, Utterance) for parts, _ in item.turns for part in parts)
    turns = []
    for turn, (parts, answer) in enumerate(item.turns):
        name = f"{item.skill}/{number:03d}" + (f"-{turn}" if turn else "")
        stored = [store(part, name, manner, archive, rng) for part in parts]
        turns.append({"parts": stored, "answer": answer})
    return {
        "skill": item.skill,
        "turns": turns,
        "manner": _label(manner) if heard else None,
        "unseen": unseen and heard,
    }


def store(part: Part, name: str, manner: Manner, archive: Archive, rng: Random) -> dict[str, str]:
    """Stores the medium of a part and returns the part of a message that refers to it."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Utterance):
        samples = say(part.text, manner).astype(np.float32) / 32768
        noisy = add_noise(samples, np.random.default_rng(rng.randrange(1 << 31)))
        return archive.sound(f"{name}.ogg", noisy)
    if isinstance(part, Picture):
        buffer = io.BytesIO()
        part.draw().save(buffer, "PNG")
        archive.file.writestr(f"{name}.png", buffer.getvalue())
        return {"type": "image", "image": f"{name}.png"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(part, path)
        archive.file.write(path, f"{name}.mp4")
    return {"type": "video", "video": f"{name}.mp4"}


def spoken(asked: dict[str, Any], number: int, archive: Archive, codec: Codec) -> dict[str, Any]:
    """Adds a spoken answer to an item: the voice, flite's sound and its codes."""
    voice, manner = list(REPLY_MANNERS.items())[number % len(REPLY_MANNERS)]
    samples = say(asked["turns"][-1]["answer"], manner).astype(np.float32) / 32768
    original = archive.sound(f"speak/{number:03d}.ogg", samples)["audio"]
    codes = codec.encode(speech_mel(to_speech_rate(samples)), voice).tolist()
    return {**asked, "skill": "speak", "voice": voice, "original": original, "codes": codes}


def _label(manner: Manner) -> str:
    return f"{manner.engine} {manner.voice} {manner.stretch} {manner.pitch}"


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--out", type=Path, default=HELD_OUT)
    args = parser.parse_args()
    codec = Codec.load(args.folder / "codec.npz")
    staged = args.out.with_suffix(".part")
    with zipfile.ZipFile(staged, "w", zipfile.ZIP_DEFLATED) as file:
        archive, aloud = Archive(file), 0
        for skill, count in COUNTS.items():
            for number in track(range(count), skill):
                rng = Random(f"held out/{skill}/{number}")
                asked = entry(draw(skill, rng), number, archive, rng)
                archive.add(asked)
                if number < SPOKEN[skill]:
                    archive.add(spoken(asked, aloud, archive, codec))
                    aloud += 1
        file.writestr("items.jsonl", "\n".join(archive.lines) + "\n")
    staged.rename(args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
