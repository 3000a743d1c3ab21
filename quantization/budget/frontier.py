"""The cheapest mixes of precisions: which layer gives up how much, in which order.

Harm is taken to add up over layers; what a mix really does is measured afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from omnijet.quantization.layers import Layer
from omnijet.quantization.schemes import Scheme


@dataclass(frozen=True, slots=True)
class Choice:
    """A scheme for one layer.

    Attributes:
        scheme: None: it stays as it is.
        bytes: of its weight.
        harm: of the whole model if this layer alone is changed, from 0.
    """

    scheme: Scheme | None
    bytes: int
    harm: float


@dataclass(frozen=True, slots=True)
class Mix:
    """A choice for every layer."""

    choices: Mapping[Layer, Choice]

    @property
    def bytes(self) -> int:
        return sum(choice.bytes for choice in self.choices.values())

    @property
    def harm(self) -> float:
        return sum(choice.harm for choice in self.choices.values())

    @property
    def plan(self) -> dict[Layer, Scheme]:
        return {
            layer: choice.scheme
            for layer, choice in self.choices.items()
            if choice.scheme is not None
        }


def frontier(offers: Mapping[Layer, Sequence[Choice]]) -> list[Mix]:
    """Mixes from the largest to the smallest, each one step from the one before: the layer that
    loses least for each byte saved goes on to its next cheaper choice.

    Args:
        offers: of each layer at least one choice, in any order.
    """
    steps = []
    current: dict[Layer, Choice] = {}
    for layer, choices in offers.items():
        hull = lower_hull(choices)
        current[layer] = hull[0]
        for before, after in pairwise(hull):
            steps.append((_price(before, after), layer, after))
    # along one hull prices rise, so that a layer's steps stay in their order
    mixes = [Mix(dict(current))]
    for _, layer, after in sorted(steps, key=lambda step: step[0]):
        current[layer] = after
        mixes.append(Mix(dict(current)))
    return mixes


def lower_hull(choices: Sequence[Choice]) -> list[Choice]:
    """From the choice of least harm down to that of fewest bytes; what lies above the line
    between two others is left out."""
    hull: list[Choice] = []
    best = min(choices, key=lambda choice: (choice.harm, choice.bytes))
    for choice in sorted(choices, key=lambda choice: (-choice.bytes, choice.harm)):
        if choice.bytes > best.bytes or (hull and choice.bytes == hull[-1].bytes):
            continue
        while len(hull) > 1 and _price(hull[-2], hull[-1]) >= _price(hull[-1], choice):
            hull.pop()
        hull.append(choice)
    return hull


def _price(before: Choice, after: Choice) -> float:
    """Harm for each byte saved."""
    return (after.harm - before.harm) / (before.bytes - after.bytes)


def smallest_that(mixes: Sequence[Mix], keeps: Callable[[Mix], bool]) -> Mix | None:
    """The last mix that `keeps` says holds, by halves: a mix is taken to hold if a smaller one
    does. None if even the first does not."""
    if not keeps(mixes[0]):
        return None
    low, high = 0, len(mixes) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if keeps(mixes[middle]):
            low = middle
        else:
            high = middle - 1
    return mixes[low]
