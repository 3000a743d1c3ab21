"""`python -m tools.calibration_set`: writes `quantization/calibration/general.zip`.

The set is written once and committed: encoders of sounds and clips differ from release to release.
Everything in it was written, drawn or computed by this project.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile

from omnijet.quantization.calibration.conversations import GENERAL, LINES
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from tools.calibration_set.pictures import pictures, write_clip
from tools.calibration_set.sounds import RATE_HZ, sounds, voice
from tools.calibration_set.texts import (
    ABOUT_CLIPS,
    ABOUT_PICTURES,
    ABOUT_SOUNDS,
    DIALOGUES,
    SHORT,
)

DATE = (2026, 1, 1, 0, 0, 0)  # of the files in the archive, so that it can be made again


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.calibration_set")
    parser.add_argument("--out", type=Path, default=GENERAL)
    out = parser.parse_args().out
    write_set(out)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


def write_set(out: Path) -> None:
    """Writes the zip file."""
    files, conversations = media(), []
    for turns in _in_turn(*_conversations()):
        system = {"role": "system", "content": [{"type": "text", "text": SPEECH_SYSTEM_PROMPT}]}
        roles = ("user", "assistant")
        messages = [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
        conversations.append(json.dumps([system, *messages], ensure_ascii=False))
    files[LINES] = ("\n".join(conversations) + "\n").encode()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name, DATE), content, zipfile.ZIP_DEFLATED)


def media() -> dict[str, bytes]:
    """Returns the content of each medium by its name."""
    heard = sounds()
    found = {f"sound-{number}.ogg": _ogg(one) for number, one in enumerate(heard)}
    for number, picture in enumerate(pictures()):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        found[f"picture-{number}.png"] = buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        for number, sound in enumerate((voice(5, 1.6, 190), heard[1])):
            path = Path(folder) / f"clip-{number}.mp4"
            write_clip(path, number, sound)
            found[path.name] = path.read_bytes()
    return found


def _ogg(samples: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


def _conversations() -> Iterator[list[list[Any]]]:
    """Yields the turns of all conversations of each kind."""
    yield [[_about("audio", f"sound-{n}.ogg", text)] for n, text in enumerate(ABOUT_SOUNDS)]
    yield [[_about("image", f"picture-{n}.png", text)] for n, text in enumerate(ABOUT_PICTURES)]
    yield [[_about("video", f"clip-{n}.mp4", text)] for n, text in enumerate(ABOUT_CLIPS)]
    yield [list(turns) for turns in DIALOGUES]
    yield [[text] for text in SHORT]


def _about(kind: str, name: str, text: str) -> list[dict[str, str]]:
    return [{"type": kind, kind: name}, {"type": "text", "text": text}]


def _in_turn(*kinds: list[list[Any]]) -> Iterator[list[Any]]:
    """Yields the first of each kind, then the second: the first few items cover all of them."""
    for number in range(max(map(len, kinds))):
        for kind in kinds:
            yield from kind[number : number + 1]


if __name__ == "__main__":
    main()
