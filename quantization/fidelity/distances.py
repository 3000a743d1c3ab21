"""Distances between two results of the same computation: distributions, signals, finiteness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from omnijet.runtime.bundle.contract import Array

EQUAL_DB = 200.0
"""SNR of no difference: more than f32 can resolve, and JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Compares next-token distributions of both bundles on the same inputs over `steps` steps.

    Attributes:
        not_finite: steps with a NaN or an infinity in the quantized logits; the other figures
            leave these steps out, and are NaN if no step is left.
        top1: share of steps with the same most likely token.
        kl_mean, kl_p99, kl_most: KL(float || quantized), nats a step.
        float_perplexity, perplexity: perplexity of the tokens that the float bundle chose.
    """

    steps: int
    not_finite: int
    top1: float
    kl_mean: float
    kl_p99: float
    kl_most: float
    float_perplexity: float
    perplexity: float

    @property
    def perplexity_ratio(self) -> float:
        return self.perplexity / self.float_perplexity


@dataclass(slots=True)
class AgreementSum:
    """Gathers steps into an `Agreement`."""

    not_finite: int = 0
    _same: list[bool] = field(default_factory=list)
    _kl: list[float] = field(default_factory=list)
    _losses: list[tuple[float, float]] = field(default_factory=list)

    def add(self, reference: Array, other: Array, tokens: Sequence[int]) -> None:
        """Adds logits f32[steps, vocab] of both bundles and the reference's tokens."""
        for row, seen, token in zip(reference, other, tokens, strict=True):
            if not (np.isfinite(row).all() and np.isfinite(seen).all()):
                self.not_finite += 1
                continue
            first, second = log_softmax(row), log_softmax(seen)
            self._same.append(int(first.argmax()) == int(second.argmax()))
            self._kl.append(max(0.0, float(np.exp(first) @ (first - second))))
            self._losses.append((-float(first[token]), -float(second[token])))

    def agreement(self) -> Agreement | None:
        """Returns the agreement over all steps, or None without any."""
        steps = len(self._kl) + self.not_finite
        if not steps:
            return None
        if not self._kl:
            return Agreement(steps, self.not_finite, *[math.nan] * 6)
        before, after = np.exp(np.mean(self._losses, axis=0))
        return Agreement(
            steps,
            self.not_finite,
            float(np.mean(self._same)),
            float(np.mean(self._kl)),
            float(np.percentile(self._kl, 99)),
            max(self._kl),
            float(before),
            float(after),
        )


@dataclass(slots=True)
class Noise:
    """Gathers the power of a signal and of another signal's difference from it."""

    signal: float = 0.0
    noise: float = 0.0
    count: int = 0

    def add(self, reference: Array, other: Array) -> None:
        """Adds two signals of equal shape."""
        wanted = reference.astype(np.float64)
        with np.errstate(all="ignore"):  # a NaN or an infinity shows in the sum
            self.signal += float(np.square(wanted).sum())
            self.noise += float(np.square(other - wanted).sum())
        self.count += wanted.size

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio of all that was added; NaN if a number was not finite; None if
        nothing was added.
        """
        return snr_db(self.signal, self.noise) if self.count else None


def snr_db(signal: float, noise: float) -> float:
    """Returns 10 log10 of signal power over noise power, within +-`EQUAL_DB`."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    if noise == 0:
        return EQUAL_DB
    ratio = 10 * math.log10(signal / noise) if signal else -EQUAL_DB
    return max(-EQUAL_DB, min(EQUAL_DB, ratio))


def log_softmax(logits: Array) -> Array:
    """Returns f64[vocab]."""
    shifted = logits.astype(np.float64) - float(logits.max())
    logarithm: Array = shifted - np.log(np.exp(shifted).sum())
    return logarithm
