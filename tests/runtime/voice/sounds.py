"""Sounds at 16 kHz for tests of voice activity, and how they are listened to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.voice.detector import RATE_HZ, Detector, Edge
from tests.layering import ROOT

MEDIA = ROOT / "tests" / "media"


def recording(name: str) -> Array:
    """Returns f32[samples] of one of the spoken test media."""
    samples, rate = soundfile.read(MEDIA / name, dtype="float32")
    assert rate == RATE_HZ
    return np.asarray(samples, np.float32)


def words(samples: Array) -> tuple[int, int]:
    """Returns where the words of a recording begin and end, to 10 ms."""
    power = np.square(samples[: len(samples) // 160 * 160]).reshape(-1, 160).mean(1)
    loud = np.flatnonzero(power > 0.01**2)
    return 160 * int(loud[0]), 160 * int(loud[-1] + 1)


def spoken(name: str = "question.wav") -> Array:
    """Returns a recording without the silence around the words."""
    samples = recording(name)
    start, end = words(samples)
    return samples[start:end]


def stillness(seconds: float) -> Array:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def noise(seconds: float, level: float, seed: int = 7) -> Array:
    made = np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ))
    return np.clip(made, -1, 1).astype(np.float32)


def wav(path: Path, *parts: Array) -> Path:
    """Writes sounds one after another as a 16-bit file."""
    soundfile.write(path, np.concatenate(parts), RATE_HZ, subtype="PCM_16")
    return path


def pieces(sound: Array, seed: int) -> Iterator[Array]:
    """Yields a sound in pieces of odd lengths, some of them empty."""
    rng = np.random.default_rng(seed)
    start = 0
    while start < len(sound):
        size = int(rng.choice([0, 1, 7, 160, 480, 512, 513, 4000]))
        yield sound[start : start + size]
        start += size


def edges(detector: Detector, *parts: Array) -> list[tuple[str, int]]:
    """Pushes sounds one after another; returns (kind, sample) of what was found."""
    found: list[Edge] = []
    for part in parts:
        found += detector.push(part)
    return [(edge.kind, edge.sample) for edge in found]
