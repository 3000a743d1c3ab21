"""Activations like a transformer's: correlated features, uneven loudness, a few far louder ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from omnijet.runtime.bundle.contract import Array


def correlated(inputs: int, outliers: int, seed: int = 0) -> Callable[[int], Array]:
    """Returns a source of rows f32[rows, inputs]: inputs / 8 hidden causes that fall off with the
    square root of their rank, plus a little noise; `outliers` features are 20 times louder.
    """
    rng = np.random.default_rng(seed)
    causes = inputs // 8
    mix = rng.standard_normal((causes, inputs)) / np.sqrt(np.arange(1, causes + 1))[:, None]
    gain = np.exp(rng.standard_normal(inputs) / 2)
    gain[rng.choice(inputs, outliers, replace=False)] *= 20

    def rows(count: int) -> Array:
        hidden = rng.standard_normal((count, causes))
        noise = 0.3 * rng.standard_normal((count, inputs))
        return ((hidden @ mix + noise) * gain).astype(np.float32)

    return rows


def weights(inputs: int, outputs: int, seed: int = 1) -> Array:
    """Returns f32[inputs, outputs] with heavier tails than a normal distribution, as if trained."""
    drawn = np.random.default_rng(seed).standard_t(5, (inputs, outputs)) * 0.02
    return drawn.astype(np.float32)
