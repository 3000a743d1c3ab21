"""Conversations with every kind of input, for comparisons with the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from tests.clip import write_clip

Messages = list[dict[str, Any]]
Part = dict[str, Any]
SAMPLE_RATE_HZ = 16_000
FPS = 10


def text(words: str) -> Part:
    return {"type": "text", "text": words}


def picture(width: int, height: int, seed: int) -> Part:
    """Makes blocks of random colour under a gradient: edges and smooth areas."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    pixels = np.kron(blocks, np.ones((16, 16, 1), np.uint8))[:height, :width]
    shade = np.linspace(0.4, 1, width)[None, :, None]
    return {"type": "image", "image": (pixels * shade).astype(np.uint8)}


def sound(seconds: float, seed: int) -> Part:
    """Makes a warbling tone in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = np.sin(2 * np.pi * (220 + 40 * seed) * time + 3 * np.sin(2 * np.pi * 2.5 * time))
    wave = 0.3 * tone + 0.02 * rng.standard_normal(time.size)
    return {"type": "audio", "audio": (wave.astype(np.float32), SAMPLE_RATE_HZ)}


def turn(role: str, *parts: Part) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def user(*parts: Part) -> Messages:
    """Returns a conversation of one question."""
    return [turn("system", text(SPEECH_SYSTEM_PROMPT)), turn("user", *parts)]


CLIPS: tuple[tuple[float, float | None], ...] = (
    (2.0, None), (3.0, None), (5.3, None),
    (4.0, 4.0), (3.0, 5.7), (6.2, 2.3), (2.4, 3.1), (4.0, 1.0), (3.0, 2.0),
)  # fmt: skip
"""Seconds of picture and of sound of each clip."""


def write_clips(folder: Path) -> None:
    """Writes the clips of the conversations."""
    for seconds, heard in CLIPS:
        path = folder / clip_name(seconds, heard)
        write_clip(path, round(FPS * seconds), FPS, sound=heard)


def clip_name(seconds: float, heard: float | None) -> str:
    return f"{seconds}-{heard}.mp4"


def conversations(folder: Path) -> dict[str, Messages]:
    """Returns the conversations by name; `folder` has the clips."""

    def clip(seconds: float, heard: float | None = None) -> Part:
        assert (seconds, heard) in CLIPS
        return {"type": "video", "video": str(folder / clip_name(seconds, heard))}

    hello = text("Hello, who are you?")
    asked = [*user(hello), turn("assistant", text("I am a kit."))]
    return {
        "text": user(hello),
        "text of one letter": user(text("a")),
        "text of many scripts": user(text("Grüße, 你好, नमस्ते — 3 × 4 = 12 🙂\n\nline")),
        "text longer than a prefill chunk": user(text("one two three four five six " * 60)),
        "text without system prompt": [turn("user", hello)],
        "text in three turns": [*asked, turn("user", text("What can you do?"))],
        "picture": user(picture(301, 217, 1), text("What is it?")),
        "narrow picture": user(text("Look:"), picture(37, 463, 2)),
        "tiny picture": user(picture(29, 31, 3), text("Colour?")),
        "three pictures": user(
            picture(131, 75, 4), picture(59, 211, 5), picture(300, 45, 6), text("Compare.")
        ),
        "three pictures among words": user(
            text("First"), picture(85, 85, 7), text("then"), picture(29, 140, 8),
            text("and last"), picture(201, 99, 9),
        ),
        "sound of 0.3 s": user(sound(0.3, 1)),
        "sound of 2.0 s": user(sound(2.0, 2), text("What was said?")),
        "sound of 7.3 s": user(text("Listen."), sound(7.3, 3)),
        "three sounds": user(sound(0.3, 4), sound(2.0, 5), text("and"), sound(7.3, 6)),
        "silent clip": user(clip(3.0), text("What happens?")),
        "two silent clips": user(clip(2.0), clip(5.3), text("Which is longer?")),
        "clip with sound": user(clip(4.0, 4.0), text("What do you hear?")),
        "clip with longer sound": user(clip(3.0, 5.7), text("What do you hear?")),
        "clip with shorter sound": user(clip(6.2, 2.3), text("What do you hear?")),
        "two clips with sound": user(clip(2.4, 3.1), text("then"), clip(4.0, 1.0)),
        "picture and sound": user(picture(150, 90, 10), sound(1.7, 7), text("Do they match?")),
        "picture, then sound in a later turn": [
            *user(picture(120, 160, 11), text("Remember it.")),
            turn("assistant", text("I will.")),
            turn("user", sound(2.6, 8)),
        ],
        "sound, then picture, then words": [
            *user(sound(0.9, 9)),
            turn("assistant", text("A tone.")),
            turn("user", picture(99, 57, 12), text("And this?")),
            turn("assistant", text("A field.")),
            turn("user", text("Sure?")),
        ],
        "clip with sound, picture and sound": [
            *user(clip(3.0, 2.0), text("Watch.")),
            turn("assistant", text("Done.")),
            turn("user", picture(77, 140, 13), sound(1.1, 10), text("Compare.")),
        ],
        "silent clip, picture and sound": [
            *user(picture(64, 64, 14), clip(2.0)),
            turn("assistant", text("Seen.")),
            turn("user", sound(3.3, 11), text("Does it fit?")),
        ],
    }  # fmt: skip
