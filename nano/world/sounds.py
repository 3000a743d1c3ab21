"""Sounds other than speech, and noise under speech."""

from __future__ import annotations

import numpy as np

from omnijet.nano.world.speech import RATE_HZ
from omnijet.runtime.bundle.contract import Array


def beep(rng: np.random.Generator) -> Array:
    """Returns a tone of 0.18 to 0.3 s with soft edges, f32[samples]."""
    seconds, hertz = rng.uniform(0.18, 0.3), rng.uniform(700.0, 1500.0)
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    edge = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.01)
    tone = edge * np.sin(2 * np.pi * hertz * time) * rng.uniform(0.15, 0.5)
    return tone.astype(np.float32)


def knock(rng: np.random.Generator) -> Array:
    """Returns a dull burst of noise that fades, f32[samples]."""
    time = np.arange(int(0.15 * RATE_HZ)) / RATE_HZ
    noise = np.convolve(rng.standard_normal(time.size), np.ones(24) / 24, mode="same")
    burst = noise * np.exp(-time / 0.03) * rng.uniform(0.8, 2.0)
    return burst.astype(np.float32)


def add_noise(samples: Array, rng: np.random.Generator) -> Array:
    """Returns the sound with a random gain and noise 15 to 50 dB below it."""
    level = np.sqrt(np.mean(np.square(samples))) + 1e-4
    noise = rng.standard_normal(samples.size).astype(np.float32)
    if rng.random() < 0.5:  # low-pass noise
        noise = np.convolve(noise, np.ones(8, np.float32) / 8**0.5, mode="same")
    noisy = samples + noise * level * 10 ** (-rng.uniform(15, 50) / 20)
    gain = 10 ** (rng.uniform(-12, 3) / 20)
    heard: Array = np.clip(noisy * gain, -1, 1).astype(np.float32)
    return heard
