"""Finds the best mixes of precisions for each number of bytes.

The harm of layers is assumed to add up; the real harm of a mix is measured afterwards.
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
        scheme: None: the layer stays as it is.
        bytes: bytes of the layer's weight.
        harm: harm to the whole model if only this layer changes, at least 0.
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
    """Returns mixes from the largest to the smallest.

    From one mix to the next, the layer with the least harm for each byte saved takes its next
    smaller choice.

    Args:
        offers: at least one choice for each layer, in any order.
    """
    steps = []
    current: dict[Layer, Choice] = {}
    for layer, choices in offers.items():
        hull = lower_hull(choices)
        current[layer] = hull[0]
        for before, after in pairwise(hull):
            steps.append((_price(before, after), layer, after))
    # along one hull prices rise, so sorting keeps the order of a layer's steps
    mixes = [Mix(dict(current))]
    for _, layer, after in sorted(steps, key=lambda step: step[0]):
        current[layer] = after
        mixes.append(Mix(dict(current)))
    return mixes


def lower_hull(choices: Sequence[Choice]) -> list[Choice]:
    """Returns the lower convex hull of choices, from the least harm to the fewest bytes."""
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
    """Returns the harm for each byte saved."""
    return (after.harm - before.harm) / (before.bytes - after.bytes)


def smallest_that(mixes: Sequence[Mix], keeps: Callable[[Mix], bool]) -> Mix | None:
    """Returns the last mix that `keeps` accepts, or None if it refuses the first.

    The search is a bisection: a mix is assumed to be accepted if a smaller one is.
    """
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
