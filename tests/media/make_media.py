"""Draws, films and speaks the media of `make demo`; needs flite (Debian package `flite`).

    python -m tests.media.make_media

Run once; its files are in the repository.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import soundfile

from omnijet.nano.world.clips import Clip, write_clip
from omnijet.nano.world.pictures import draw_scene
from omnijet.nano.world.speech import RATE_HZ, Manner, say

HERE = Path(__file__).parent
SPOKEN = {
    "question": ("four seven one", Manner("flite", "awb")),
    "follow_up": ("which colour", Manner("flite", "kal16")),
}
CLIP = Clip((("red", "circle"), ("blue", "square"), ("green", "star"), ("white", "triangle")), 2, 3)


def main() -> None:
    for name, (text, manner) in SPOKEN.items():
        soundfile.write(HERE / f"{name}.wav", say(text, manner), RATE_HZ)
    draw_scene(3, "yellow", "star", Random(1)).save(HERE / "drawing.png")
    write_clip(CLIP, HERE / "clip.mp4")


if __name__ == "__main__":
    main()
