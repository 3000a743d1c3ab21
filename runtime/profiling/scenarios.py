"""The scenarios: each kind of input, with a short and a long reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.model.thinker import THINKER_SAMPLING
from omnijet.runtime.profiling import media
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT

Medium = Literal["text", "question", "picture", "clip"]
QUESTION_S = CLIP_S = 5.0
PICTURE, CLIP = (480, 640), (240, 320)  # height, width
WORDS = "Who are you, and what can you see and hear?"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question, and the length of its reply.

    End tokens are suppressed, so that replies are equally long on every model and runs compare.
    """

    name: str
    medium: Medium
    text_tokens: int
    codes: int  # codes drawn, the last one is dropped; 50 per second

    def messages(self, folder: Path) -> list[dict[str, Any]]:
        """Returns the conversation, the same for every run.

        Args:
            folder: where the file of a clip is written: each run reads it, like a user's file.
        """
        parts: list[dict[str, Any]] = []
        if self.medium == "picture":
            parts.append({"type": "image", "image": Image.fromarray(media.picture(*PICTURE))})
        if self.medium == "clip":
            path = folder / "clip.mp4"
            media.write_clip(path, CLIP_S, *CLIP)
            parts.append({"type": "video", "video": path})
        if self.medium == "question":
            sound = media.voice(QUESTION_S), media.SOUND_RATE_HZ
            parts.append({"type": "audio", "audio": sound})
        else:
            parts.append({"type": "text", "text": WORDS})
        return [
            {"role": "system", "content": SPEECH_SYSTEM_PROMPT},
            {"role": "user", "content": parts},
        ]

    def options(self, dims: ModelDims) -> dict[str, Any]:
        """Returns the turn's `Options` by name: limits, and suppression of the end tokens."""
        suppressed = dims.speech.codec.ends if dims.speech else ()
        return {
            "max_text_tokens": self.text_tokens,
            "max_codes": self.codes,
            "use_audio_in_video": True,
            "thinker_sampling": replace(THINKER_SAMPLING, suppress=dims.tokens.eos),
            "talker_sampling": replace(TALKER_SAMPLING, suppress=suppressed),
        }


MEDIA: tuple[Medium, ...] = ("text", "question", "picture", "clip")
SHORT, LONG = (24, 101), (96, 401)  # text tokens, codes: 2 and 8 seconds of speech
SCENARIOS = {
    scenario.name: scenario
    for medium in MEDIA
    for scenario in (Scenario(medium, medium, *SHORT), Scenario(f"{medium}-long", medium, *LONG))
}


def chosen(names: Sequence[str] | None) -> list[Scenario]:
    """Returns scenarios by name, or all. Raises `OmnijetError` if a name is unknown."""
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
