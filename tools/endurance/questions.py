"""What the users of a long run ask: typed, said, shown and filmed, the same for each seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from random import Random
from typing import Any, NamedTuple

import numpy as np
import soundfile

from omnijet.nano.evaluation.heldout import HeldOutItem
from omnijet.nano.world import words
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import CodecIds
from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.speech.synthesis import PRESETS

# in turn; no two counts share a divisor, so that every kind meets every preset and length early
KINDS = ("text", "hear", "text", "see", "text", "converse", "hear", "watch", "text")
LENGTHS = ("own", "short", "own", "own", "long")


class Limits(NamedTuple):
    """How long replies may get: an untrained model ends none by itself.

    Attributes:
        text_tokens: of any reply.
        codes: of one of its own length, and exactly of a long one; 50 a second.
        short: of one that is cut short.
    """

    text_tokens: int
    codes: int
    short: int


TRAINED = Limits(64, 201, 21)  # 200 codes: the longest window of every preset is reached


class Question(NamedTuple):
    """One conversation and how it is to be answered.

    Attributes:
        messages: up to the last question.
        options: of a stream.
    """

    kind: str
    messages: tuple[dict[str, Any], ...]
    options: dict[str, Any]

    @property
    def content(self) -> Any:
        """The last question alone, for a session."""
        return self.messages[-1]["content"]

    @property
    def spoken(self) -> Array | None:
        """f32[samples], 16 kHz, if the last question begins with a sound."""
        first = self.content[0]
        if first["type"] != "audio":
            return None
        samples: Array = soundfile.read(first["audio"], dtype="float32")[0]
        return samples

    @property
    def unspoken(self) -> Any:
        """What follows that sound."""
        return list(self.content[1:]) or ""


class Questions:
    """An endless series.

    Args:
        held_out: conversations with media.
        codec: of the model that is asked: long replies are drawn without its end tokens.
    """

    def __init__(
        self, held_out: Sequence[HeldOutItem], rng: Random, limits: Limits, codec: CodecIds
    ) -> None:
        self._held_out = {kind: [item for item in held_out if item.skill == kind] for kind in KINDS}
        self._rng = rng
        self._limits = limits
        self._endless = replace(TALKER_SAMPLING, suppress=(codec.pad, codec.eos))
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
    """As a microphone hands them over, in pieces of odd sizes."""
    cuts = sorted(rng.randrange(len(samples)) for _ in range(9))
    return [np.ascontiguousarray(piece) for piece in np.split(samples, cuts)]
