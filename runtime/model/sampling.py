"""Chooses the next token exactly as the reference's logits processors do.

The order is that of transformers 4.57.6: repetition penalty, suppressed tokens, temperature,
top-k, top-p. Greedy decoding applies the first two and takes the maximum.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

LOWEST = np.finfo(np.float32).min


LEAST, MOST = 1e-5, 1e5  # beyond them f32 logits overflow; so small a temperature is greedy
NUMBERS = ("repetition_penalty", "temperature", "top_k", "top_p")
"""The settings of `Sampling` that are numbers."""
_EXPECTED = {
    "repetition_penalty": f"a number from {LEAST:g} to {MOST:g}; 1 penalises nothing",
    "temperature": f"a number from {LEAST:g} to {MOST:g}; greedy=True takes the maximum",
    "top_k": "a whole number from 0; 0: no limit",
    "top_p": "a number above 0, at most 1",
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a decoder chooses its tokens.

    Threads: any thread may use it; it never changes.

    Attributes:
        greedy: takes the most likely token; the repetition penalty and `suppress` count still.
        repetition_penalty: more than 1 makes tokens that came before less likely.
        temperature: logits are divided by it.
        top_k: how many of the most likely tokens may be drawn; 0: no limit.
        top_p: the share of the probability that may be drawn from, the most likely tokens first.
        suppress: tokens that are never chosen.
    """

    greedy: bool = True
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    suppress: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in NUMBERS}
        faults = number_faults(numbers)
        if not isinstance(self.greedy, bool | np.bool_):
            faults.append(f"greedy {self.greedy!r}: expected True or False")
        if not _are_ids(self.suppress):
            faults.append(f"suppress {self.suppress!r}: expected token ids")
        if faults:
            raise OmnijetError(
                "the sampling settings are unusable", got="\n            ".join(faults)
            )
        for name, value in numbers.items():  # numpy's numbers become Python's
            object.__setattr__(self, name, int(value) if name == "top_k" else float(value))
        object.__setattr__(self, "suppress", tuple(int(token) for token in self.suppress))

    def made_greedy(self) -> Sampling:
        """Returns greedy settings that keep the penalty and the suppressed tokens."""
        return replace(self, greedy=True)


def number_faults(numbers: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns a line for each unusable number of a sampling.

    Args:
        numbers: values by their names in `Sampling`.
        prefix: what stands before these names where the user gave them.
    """
    return [
        f"{prefix}{name} {value!r}: expected {_EXPECTED[name]}"
        for name, value in numbers.items()
        if not _is_usable(name, value)
    ]


def _is_usable(name: str, value: Any) -> bool:
    kinds = (int, np.integer) if name == "top_k" else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    if name == "top_k":
        return bool(value >= 0)
    if name == "top_p":
        return bool(0 < value <= 1)
    return bool(LEAST <= value <= MOST)  # false for NaN


def _are_ids(values: Any) -> bool:
    return isinstance(values, list | tuple | np.ndarray) and all(
        isinstance(token, int | np.integer) and not isinstance(token, bool) and token >= 0
        for token in values
    )


class Sampler:
    """Chooses the tokens of one decoded sequence and remembers which it has seen.

    Args:
        sampling: the settings.
        vocab: number of logits.
        history: tokens that the repetition penalty counts from the start.
        rng: source of the draws; greedy settings do not use it.
        first: tokens that are chosen first, whatever the logits are.

    Raises:
        OmnijetError: a suppressed token is not in the vocabulary, or none is left.
    """

    def __init__(
        self,
        sampling: Sampling,
        vocab: int,
        history: Iterable[int],
        rng: np.random.Generator,
        first: Sequence[int] = (),
    ) -> None:
        self.first = deque(first)
        self._sampling = sampling
        self._rng = rng
        self._is_seen = np.zeros(vocab, bool)
        self._seen = np.zeros(vocab, np.int64)  # the first `_count` are the tokens seen
        self._count = 0
        self._suppress = np.array(_suppressed(sampling.suppress, vocab), np.int64)
        for token in history:
            self._remember(token)

    def __call__(self, logits: Array) -> int:
        """Returns the next token for logits f32[vocab], which are not changed."""
        if self.first:
            token = self.first.popleft()
            self._remember(token)
            return token
        ids, scores = self._survivors(logits)
        choice = int(scores.argmax()) if self._sampling.greedy else self._draw(scores)
        token = choice if ids is None else int(ids[choice])
        self._remember(token)
        return token

    def process(self, logits: Array) -> Array:
        """Returns the logits after every processor, f32[vocab]; -inf where no draw may fall."""
        ids, scores = self._survivors(logits)
        if ids is None:
            return scores
        processed = np.full(logits.shape, -np.inf, np.float32)
        processed[ids] = scores
        return processed

    def _survivors(self, logits: Array) -> tuple[Array | None, Array]:
        """Returns the tokens that may be drawn, ascending (None: all), and their processed logits.

        The steps after top-k touch the remaining tokens alone: over the whole vocabulary they
        would cost more than a small decoder's graph.
        """
        sampling = self._sampling
        scores = logits.astype(np.float32, copy=True)
        if sampling.repetition_penalty != 1.0 and self._count:
            seen = self._seen[: self._count]
            values = scores[seen]
            penalty = np.float32(sampling.repetition_penalty)
            # negative scores are multiplied and others divided, which gives the lower of the two
            lower = np.minimum if penalty >= 1 else np.maximum
            scores[seen] = lower(values * penalty, values / penalty)
        if self._suppress.size:
            scores[self._suppress] = -np.inf
        if sampling.greedy:
            return None, scores
        k = sampling.top_k if 0 < sampling.top_k < scores.size else 0
        ids = (scores >= _floor(scores, k) if k else scores > -np.inf).nonzero()[0]
        scores = scores[ids] / np.float32(sampling.temperature)
        if 0 < k < scores.size:
            kept = scores >= np.partition(scores, -k)[-k]
            ids, scores = ids[kept], scores[kept]
        if sampling.top_p < 1.0:
            kept = _nucleus(scores, sampling.top_p)
            ids, scores = ids[kept], scores[kept]
        return ids, scores

    def _draw(self, scores: Array) -> int:
        weights = np.exp((scores - scores.max()).astype(np.float64))
        edges = weights.cumsum()
        position = int(edges.searchsorted(self._rng.random() * edges[-1], side="right"))
        return min(position, scores.size - 1)

    def _remember(self, token: int) -> None:
        if not self._is_seen[token]:
            self._is_seen[token] = True
            self._seen[self._count] = token
            self._count += 1


def _suppressed(tokens: tuple[int, ...], vocab: int) -> tuple[int, ...]:
    outside = [token for token in tokens if token >= vocab]
    if outside or len(set(tokens)) >= vocab:
        raise OmnijetError(
            "the tokens to suppress are unusable",
            where="suppress",
            expected=f"ids below {vocab}, not all of them",
            got=", ".join(map(str, outside[:5])) or "all",
        )
    return tokens


def _floor(scores: Array, k: int) -> np.float32:
    """Returns a value that at least `k` scores reach, close to the k-th largest; never -inf.

    It is the k-th largest of the maxima of 3 k groups. This takes one pass over the vocabulary
    without branches, while a selection of the k-th largest score would mispredict many. The
    value is lowered slightly because the temperature may make two scores equal.
    """
    groups = min(3 * k, scores.size)
    maxima = scores[: scores.size // groups * groups].reshape(-1, groups).max(axis=0)
    floor = np.partition(maxima, -k)[-k]
    lowered: np.float32 = floor - abs(floor) * np.float32(1e-6)
    return max(lowered, LOWEST)


def _nucleus(scores: Array, top_p: float) -> Array:
    """Returns which scores top-p keeps, bool[scores].

    The least likely tokens are dropped while their mass is at most 1 - top_p; the most likely
    token always stays.
    """
    rising = np.sort(scores)  # of values, a tenth of the time of a stable order of places
    weights = np.exp(rising - rising[-1])
    mass = (weights / weights.sum()).cumsum(dtype=np.float32)
    first = int(mass.searchsorted(np.float32(1 - top_p), side="right"))
    first = min(first, scores.size - 1)
    least = rising[first]
    kept: Array = scores > least
    equal = (scores == least).nonzero()[0]
    # of equal scores the stable order drops those of lower ids first
    count = int(rising.searchsorted(least, side="right")) - first
    kept[equal[equal.size - count :]] = True
    return kept
