"""The questions of a long run: text, speech, pictures and clips, determined by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from math import lcm, prod
from random import Random
from typing import Any, NamedTuple

import numpy as np
import soundfile

from omnijet.nano.evaluation.heldout import HeldOutItem
from omnijet.nano.world import words
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import CodecIds
from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.speech.presets import PRESETS

# kinds, presets and lengths are taken in turn. Their numbers share no divisor, which `Questions`
# checks, so that every kind soon meets every preset and length, and every preset every length
KINDS = ("text", "hear", "text", "see", "text", "converse", "hear", "watch", "text")
LENGTHS = ("own", "short", "own", "own", "long")


class Limits(NamedTuple):
    """The most tokens of a reply; an untrained model ends none by itself.

    Attributes:
        text_tokens: The most text tokens of any reply.
        codes: The most codec tokens (50 a second), and exactly those of a long reply.
        short: The most codec tokens of a short reply.
    """

    text_tokens: int
    codes: int
    short: int


TRAINED = Limits(64, 201, 21)  # 200 codes reach the longest window of every preset


class Question(NamedTuple):
    """One conversation, and the options of its answer.

    Attributes:
        messages: The messages up to the last question.
        options: The options of the stream.
    """

    kind: str
    messages: tuple[dict[str, Any], ...]
    options: dict[str, Any]

    @property
    def content(self) -> Any:
        """The content of the last question alone, for a session."""
        return self.messages[-1]["content"]

    @property
    def spoken(self) -> Array | None:
        """The sound that the last question begins with, f32[samples] at 16 kHz, or None."""
        first = self.content[0]
        if first["type"] != "audio":
            return None
        samples: Array = soundfile.read(first["audio"], dtype="float32")[0]
        return samples

    @property
    def unspoken(self) -> Any:
        """The content after that sound."""
        return list(self.content[1:]) or ""


class Questions:
    """An endless series of questions.

    Args:
        held_out: Conversations with media.
        rng: The source of every choice.
        limits: The most tokens of a reply.
        codec: The codec ids of the model; long replies are drawn without its end tokens.
    """

    def __init__(
        self, held_out: Sequence[HeldOutItem], rng: Random, limits: Limits, codec: CodecIds
    ) -> None:
        self._held_out = {kind: [item for item in held_out if item.skill == kind] for kind in KINDS}
        self._rng = rng
        self._limits = limits
        self._endless = replace(TALKER_SAMPLING, suppress=codec.ends)
        counts = (len(KINDS), len(PRESETS), len(LENGTHS))
        assert lcm(*counts) == prod(counts), f"{counts} share a divisor: add a length or a kind"
        self._kinds, self._presets, self._lengths = cycle(KINDS), cycle(PRESETS), cycle(LENGTHS)

    def next(self) -> Question:
        rng, kind, length = self._rng, next(self._kinds), next(self._lengths)
        if kind == "text":
            texts = (words.SEE, words.ASK_COLOUR, words.utterance(rng), words.jumble(rng) * 9)
            part = {"type": "text", "text": rng.choice(texts)}
            messages: tuple[dict[str, Any], ...] = ({"role": "user", "content": [part]},)
        else:
            messages = rng.choice(self._held_out[kind]).messages
        options = {
            "preset": next(self._presets),
            "voice": rng.choice(("Chelsie", "Ethan")),
            "seed": rng.randrange(1 << 31),
            "speech": length == "long" or rng.random() < 0.9,
            "max_text_tokens": self._limits.text_tokens,
            "max_codes": self._limits.short if length == "short" else self._limits.codes,
            "talker_sampling": self._endless if length == "long" else TALKER_SAMPLING,
        }
        return Question(kind, messages, options)


def pieces(samples: Array, rng: Random) -> list[Array]:
    """Cuts samples into pieces of random sizes, as a microphone delivers them."""
    cuts = sorted(rng.randrange(len(samples)) for _ in range(9))
    return [np.ascontiguousarray(piece) for piece in np.split(samples, cuts)]
