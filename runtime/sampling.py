"""Choosing the next token, exactly as the reference's logits processors do.

Order (transformers 4.57.6): repetition penalty, suppressed tokens, temperature, top-k,
top-p. Greedy decoding applies the first two and takes the maximum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from runtime.contract import Array


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a decoder chooses its tokens."""

    greedy: bool = True
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int = 0  # 0: no limit
    top_p: float = 1.0
    suppress: tuple[int, ...] = ()

    def made_greedy(self) -> Sampling:
        """The same with the maximum taken; penalty and suppression stay."""
        return replace(self, greedy=True)


class Sampler:
    """One decoding's sampler: it remembers which tokens were seen.

    Args:
        sampling: the settings.
        vocab: number of logits.
        history: ids that the repetition penalty counts from the start.
        rng: where draws come from; not used when greedy.
    """

    def __init__(
        self,
        sampling: Sampling,
        vocab: int,
        history: Iterable[int],
        rng: np.random.Generator,
    ) -> None:
        self._sampling = sampling
        self._rng = rng
        self._is_seen = np.zeros(vocab, bool)
        self._seen = np.zeros(vocab, np.int64)  # ids seen, the first `_count` of them
        self._count = 0
        self._suppress = np.array(sampling.suppress, np.int64)
        for token in history:
            self._remember(token)

    def __call__(self, logits: Array) -> int:
        """The next token from f32 [vocab] logits, which stay untouched."""
        scores = self.process(logits)
        token = int(scores.argmax()) if self._sampling.greedy else self._draw(scores)
        self._remember(token)
        return token

    def process(self, logits: Array) -> Array:
        """f32 [vocab]: the logits after every processor; -inf where nothing may be drawn."""
        sampling = self._sampling
        scores = logits.astype(np.float32, copy=True)
        if sampling.repetition_penalty != 1.0 and self._count:
            seen = self._seen[: self._count]
            values = scores[seen]
            penalty = np.float32(sampling.repetition_penalty)
            scores[seen] = np.where(values < 0, values * penalty, values / penalty)
        if self._suppress.size:
            scores[self._suppress] = -np.inf
        if sampling.greedy:
            return scores
        if sampling.temperature != 1.0:
            scores /= np.float32(sampling.temperature)
        if 0 < sampling.top_k < scores.size:
            threshold = np.partition(scores, -sampling.top_k)[-sampling.top_k]
            scores[scores < threshold] = -np.inf
        if sampling.top_p < 1.0:
            _keep_nucleus(scores, sampling.top_p)
        return scores

    def _draw(self, scores: Array) -> int:
        candidates = np.flatnonzero(scores > -np.inf)
        weights = np.exp((scores[candidates] - scores.max()).astype(np.float64))
        edges = np.cumsum(weights)
        position = int(np.searchsorted(edges, self._rng.random() * edges[-1], side="right"))
        return int(candidates[min(position, candidates.size - 1)])

    def _remember(self, token: int) -> None:
        if not self._is_seen[token]:
            self._is_seen[token] = True
            self._seen[self._count] = token
            self._count += 1


def _keep_nucleus(scores: Array, top_p: float) -> None:
    """Drops, from the least likely up, what lies within 1 - top_p of the mass; the most
    likely token always stays."""
    candidates = np.flatnonzero(scores > -np.inf)
    ascending = candidates[np.argsort(scores[candidates], kind="stable")]
    weights = np.exp(scores[ascending] - scores[ascending[-1]])
    mass = np.cumsum(weights / weights.sum(), dtype=np.float32)
    dropped = mass <= np.float32(1 - top_p)
    dropped[-1] = False
    scores[ascending[dropped]] = -np.inf
