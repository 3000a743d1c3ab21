"""A tone that a speaker plays, and what a microphone heard of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array

HZ = 1000
AMPLITUDE = 0.2
BEFORE_S, TONE_S, AFTER_S = 0.5, 0.8, 0.3
SETTLE_S = 0.1
"""Microphones begin with a click."""
WINDOW_S = 0.1
RISE_DB = 10.0
LEAST_DB = -75.0
CLIPPED = 0.99
SILENCE_DB = -120.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a microphone heard.

    Attributes:
        noise_db: level before the tone, in dB of full scale.
        rise_db: how much louder the tone's frequency was during the tone.
        tone_db: level of the tone.
        peak: the largest sample.
    """

    noise_db: float
    rise_db: float
    tone_db: float
    peak: float

    @property
    def is_silent(self) -> bool:
        """Whether not even noise was heard: the microphone is muted, or none."""
        return self.peak == 0

    @property
    def is_tone(self) -> bool:
        """Whether the tone was heard."""
        return self.rise_db >= RISE_DB and self.tone_db >= LEAST_DB

    @property
    def is_clipped(self) -> bool:
        return self.peak >= CLIPPED

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def tone(rate_hz: int) -> Array:
    """Returns silence, the tone, silence: f32[n]."""
    length = round((BEFORE_S + TONE_S + AFTER_S) * rate_hz)
    made = np.zeros(length, np.float32)
    begin, count = round(BEFORE_S * rate_hz), round(TONE_S * rate_hz)
    wave = AMPLITUDE * np.sin(2 * np.pi * HZ / rate_hz * np.arange(count))
    fade = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.01 * rate_hz))
    made[begin : begin + count] = wave * fade
    return made


def heard(samples: Array, rate_hz: int) -> Heard:
    """Returns what of the tone is in a recording, which may be late by a part of a second.

    Args:
        samples: f32[n], recorded while `tone` was played.
        rate_hz: of both.
    """
    begin, end = round(SETTLE_S * rate_hz), round(BEFORE_S * rate_hz)
    before, during = samples[begin:end], samples[end:]
    noise = float(np.sqrt(np.mean(np.square(before, dtype=np.float64)))) if len(before) else 0.0
    of_noise, of_tone = _amplitude(before, rate_hz), _amplitude(during, rate_hz)
    return Heard(
        _db(noise), _db(of_tone) - _db(of_noise), _db(of_tone),
        float(np.abs(samples).max(initial=0)),
    )  # fmt: skip


def _amplitude(samples: Array, rate_hz: int) -> float:
    """Returns the largest amplitude that the tone's frequency has in a tenth of a second."""
    count = round(WINDOW_S * rate_hz)
    turns = np.exp(-2j * np.pi * HZ / rate_hz * np.arange(count))
    windows = [samples[at : at + count] for at in range(0, len(samples) - count + 1, count // 2)]
    return max((2 / count * abs(window @ turns) for window in windows), default=0.0)


def _db(amplitude: float) -> float:
    return float(20 * np.log10(amplitude)) if amplitude > 1e-6 else SILENCE_DB
