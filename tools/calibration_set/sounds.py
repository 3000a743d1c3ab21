"""The sounds of the set, from formulas and a seed."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.bundle.contract import Array

RATE_HZ = 16_000

VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480),
          (570, 840, 2410))  # fmt: skip
"""Formants of a, i, u, e, o in Hz: Peterson and Barney, 1952, averages of men."""


def sounds() -> list[Array]:
    """Returns f32[samples] each: a voice, a melody, rain with steps, a siren with a knock."""
    return [voice(7, 2.6, 118), melody(), rain(), siren()]


def voice(seed: int, seconds: float, pitch_hz: float) -> Array:
    """Returns syllables without words: a buzz through three formants, with hiss between them."""
    rng = np.random.default_rng(seed)
    made = []
    while sum(map(len, made)) < seconds * RATE_HZ:
        time = np.arange(int(RATE_HZ * rng.uniform(0.12, 0.24))) / RATE_HZ
        pitch = pitch_hz * rng.uniform(0.85, 1.25) * (1 + 0.1 * time / time[-1])
        phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
        formants = VOWELS[rng.integers(len(VOWELS))]
        tone = sum(_formants(k * pitch_hz, formants) * np.sin(k * phase) for k in range(1, 30))
        made.append(tone * np.sin(np.pi * time / time[-1]) ** 0.7)
        hiss = np.diff(rng.standard_normal(int(RATE_HZ * rng.uniform(0.03, 0.12)) + 1))
        made.append(0.12 * hiss * np.hanning(len(hiss)))
    return _loud(np.concatenate(made), 0.4)


def melody() -> Array:
    """Returns eight plucked notes and a chord."""
    made = np.zeros(int(2.4 * RATE_HZ))
    for number, step in enumerate((0, 4, 7, 12, 11, 7, 4, 2)):
        _add(made, 0.2 * number, _plucked(220 * 2 ** (step / 12), 0.6))
    for step in (0, 4, 7):
        _add(made, 1.6, _plucked(220 * 2 ** (step / 12), 0.8))
    return _loud(made, 0.5)


def rain() -> Array:
    """Returns noise that swells, with steps in it."""
    rng = np.random.default_rng(3)
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    made = 0.15 * rng.standard_normal(time.size) * (0.6 + 0.4 * np.sin(2.2 * time))
    for number in range(4):
        burst = np.exp(-np.arange(1200) / 150) * rng.standard_normal(1200)
        _add(made, 0.2 + 0.45 * number, burst)
    return _loud(made, 0.3)


def siren() -> Array:
    """Returns a tone that rises and falls twice, silence, and two knocks."""
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    pitch = 600 + 350 * np.sin(2 * np.pi * time / 0.7)
    made = np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ) * (time < 1.4)
    for begin in (1.6, 1.8):
        beat = np.arange(900)
        _add(made, begin, np.exp(-beat / 90) * np.sin(2 * np.pi * 180 * beat / RATE_HZ))
    return _loud(made, 0.4)


def _formants(frequency: float, formants: tuple[int, ...]) -> float:
    return float(sum(1 / (1 + ((frequency - one) / 90) ** 2) for one in formants))


def _plucked(frequency: float, seconds: float) -> Array:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tones = [np.sin(2 * np.pi * k * frequency * time) / k**1.5 for k in range(1, 7)]
    return np.asarray(sum(tones) * np.exp(-4 * time))


def _add(made: Array, begin_s: float, part: Array) -> None:
    first = int(begin_s * RATE_HZ)
    room = len(made) - first
    made[first : first + len(part)] += part[:room]


def _loud(samples: Array, peak: float) -> Array:
    return np.asarray(peak * samples / np.abs(samples).max(), np.float32)
