"""What is asked: each kind of input, with a short and a long reply. Media come from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from PIL import Image

from runtime.chat import SPEECH_SYSTEM_PROMPT
from runtime.contract import Array
from runtime.errors import OmnijetError

Medium = Literal["text", "question", "picture", "clip"]
SOUND_RATE_HZ = 16_000
QUESTION_S = 5.0
PICTURE = (480, 640)  # height, width
CLIP = (10, 240, 320)  # frames at 2 a second, height, width
WORDS = "Who are you, and what can you see and hear?"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question and how long its reply may get. A trained model may end it earlier."""

    name: str
    medium: Medium
    text_tokens: int
    codes: int  # drawn, the last is dropped; 50 a second

    def messages(self) -> list[dict[str, Any]]:
        """The conversation; the same in every run."""
        rng = np.random.default_rng(7)
        parts: list[dict[str, Any]] = []
        if self.medium == "picture":
            parts.append({"type": "image", "image": Image.fromarray(_frames(rng, 1, *PICTURE)[0])})
        if self.medium == "clip":
            parts.append({"type": "video", "video": _frames(rng, *CLIP)})
        if self.medium in ("question", "clip"):
            parts.append({"type": "audio", "audio": (_voice(rng), SOUND_RATE_HZ)})
        else:
            parts.append({"type": "text", "text": WORDS})
        return [
            {"role": "system", "content": SPEECH_SYSTEM_PROMPT},
            {"role": "user", "content": parts},
        ]


MEDIA: tuple[Medium, ...] = ("text", "question", "picture", "clip")
SHORT, LONG = (24, 101), (96, 401)  # text tokens, codes: 2 and 8 seconds of speech
SCENARIOS = {
    scenario.name: scenario
    for medium in MEDIA
    for scenario in (Scenario(medium, medium, *SHORT), Scenario(f"{medium}-long", medium, *LONG))
}


def chosen(names: Sequence[str] | None) -> list[Scenario]:
    """Scenarios by name; all if none is named. Raises `OmnijetError` on an unknown one."""
    for name in names or ():
        if name not in SCENARIOS:
            near = get_close_matches(name, SCENARIOS, n=1)
            raise OmnijetError(
                f"there is no scenario {name!r}",
                where="--scenario",
                expected="one of " + ", ".join(SCENARIOS),
                fix=f"did you mean {near[0]!r}?" if near else None,
            )
    return [SCENARIOS[name] for name in dict.fromkeys(names or SCENARIOS)]


def _frames(rng: np.random.Generator, count: int, height: int, width: int) -> Array:
    """uint8[count, height, width, 3]: coarse noise that drifts."""
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    picture = coarse.repeat(16, axis=0).repeat(16, axis=1)
    return np.stack([np.roll(picture, 8 * index, axis=1) for index in range(count)])


def _voice(rng: np.random.Generator) -> Array:
    """f32[samples]: a buzz in syllables; what an encoder costs does not hang on the words."""
    time = np.arange(int(QUESTION_S * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(3 * time)) / SOUND_RATE_HZ
    buzz = sum(np.sin(k * pitch) / k for k in range(1, 12))
    sound = 0.2 * buzz * np.clip(np.sin(8 * np.pi * time), 0, None)
    return np.asarray(sound + 0.002 * rng.standard_normal(time.size), np.float32)
