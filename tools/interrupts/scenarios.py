"""What is interrupted: commands, and the moments in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from omnijet.runtime.profiling.media import write_clip

PHOTO = (3000, 4000)  # twelve megapixels
CLIP_S, CLIP_SIZE = 60, (360, 640)
PROMPT_WORDS = 6000
EXPORT_S = QUANTIZE_S = 2.0  # the most that a command may take to end
OTHERS_S = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """When a signal is sent.

    Attributes:
        stage: a stage of a turn that must have begun; None: from the start of the process.
        seconds: after that.
    """

    stage: str | None
    seconds: float

    def __str__(self) -> str:
        return f"{self.stage or 'start'} + {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command that takes long.

    Attributes:
        command: the words after `omnijet`.
        moments: when it is interrupted, once each.
        limit: seconds that it may take to end.
    """

    name: str
    command: tuple[str, ...]
    moments: tuple[Moment, ...]
    limit: float = OTHERS_S


def scenarios(bundle: Path, checkpoint: Path | None, media: Path, out: Path) -> Iterator[Scenario]:
    """Yields all scenarios.

    Args:
        bundle: a float bundle.
        checkpoint: None: nothing is exported.
        media: an empty folder.
        out: a folder that commands write to.
    """
    photo, clip = media / "photo.jpg", media / "clip.mp4"
    noise = np.random.default_rng(7).integers(0, 256, (*PHOTO, 3), np.uint8)
    Image.fromarray(noise).save(photo)
    write_clip(clip, CLIP_S, *CLIP_SIZE)
    run = ("run", str(bundle), "--greedy")
    short = ("--max-text-tokens", "4", "--no-speech")
    starting = _at(None, 1.0, 1.5)
    yield Scenario("picture", (*run, *short, "--image", str(photo)), (
        *starting, *_at("preprocess", 0.2, 0.6, 1.0, 1.5), *_at("load", 0.0),
        *_at("vision_encoder", 0.1, 1, 5),
    ))  # fmt: skip
    yield Scenario("clip", (*run, *short, "--video", str(clip)), (
        *_at("preprocess", 0.1, 0.5, 1, 2, 4), *_at("vision_encoder", 0.1, 2),
        *_at("audio_encoder", 0.1),
    ))  # fmt: skip
    words = " ".join(["word"] * PROMPT_WORDS)
    yield Scenario("prompt", (*run, *short, "--text", words), _at("thinker_prefill", 0.05, 0.5, 2))
    speech = (
        "--out",
        str(out / "reply.wav"),
        "--max-text-tokens",
        "24",
        "--max-codes",
        "900",
        "--text",
        "Tell me a long story",
    )
    yield Scenario("speech", (*run, *speech), (
        *_at("thinker_decode", 0.05), *_at("talker_decode", 0.5), *_at("dit", 0.05, 1, 4),
        *_at("vocoder", 0.05, 0.3),
    ))  # fmt: skip
    yield Scenario("stream", (*run, *speech, "--stream"), _at("talker_decode", 0.1, 1, 3))
    for recipe in ("cpu-int8", "orin-int4", "ada-fp8"):
        command = ("quantize", str(bundle), str(out / "quantized"), "--recipe", recipe)
        yield Scenario(
            recipe, (*command, "--items", "4"), _at(None, 0.5, 2, 5, 10, 20, 40), QUANTIZE_S
        )
    budget = ("quantize", str(bundle), str(out / "quantized"), "--budget", "fidelity=0.99")
    yield Scenario("budget", (*budget, "--items", "2"), _at(None, 5, 15, 30, 60), QUANTIZE_S)
    if checkpoint is not None:
        command = ("export", str(checkpoint), str(out / "exported"))
        yield Scenario("export", command, _at(None, 0.5, 2, 4, 6, 9, 13, 18, 25), EXPORT_S)


def _at(stage: str | None, *seconds: float) -> tuple[Moment, ...]:
    return tuple(Moment(stage, each) for each in seconds)
