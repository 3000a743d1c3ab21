"""Mixes equal those that brute force finds."""

from __future__ import annotations

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from omnijet.quantization.budget.frontier import Choice, Mix, frontier, lower_hull, smallest_that
from omnijet.quantization.layers import Layer
from omnijet.quantization.schemes import Scheme, WeightScheme

INT4, INT8 = Scheme(WeightScheme("int4")), Scheme(WeightScheme("int8"))


def layer(number: int) -> Layer:
    return Layer("thinker_step", f"decoder.layers.{number}.qkv.weight", "x", 64, 64)


harms = st.floats(0, 10, allow_subnormal=False)
choices = st.lists(st.tuples(st.integers(1, 1000), harms), min_size=1, max_size=4).map(
    lambda pairs: [Choice(INT4, size, harm) for size, harm in pairs]
)


@given(st.lists(choices, min_size=1, max_size=4))
def test_no_other_mix_is_smaller_and_better(offered: list[list[Choice]]) -> None:
    offers = {layer(number): some for number, some in enumerate(offered)}
    mixes = frontier(offers)
    assert [mix.bytes for mix in mixes] == sorted({mix.bytes for mix in mixes}, reverse=True)
    for picked in product(*offered):
        other = Mix(dict(zip(offers, picked, strict=True)))
        for mix in mixes:
            assert other.bytes >= mix.bytes or other.harm >= mix.harm - 1e-9


@given(choices)
def test_a_hull_pays_more_with_every_step(offered: list[Choice]) -> None:
    hull = lower_hull(offered)
    assert hull[0].harm == min(choice.harm for choice in offered)
    assert hull[-1].bytes == min(choice.bytes for choice in offered)
    prices = [(b.harm - a.harm) / (a.bytes - b.bytes) for a, b in pairwise(hull)]
    assert prices == sorted(prices)


def test_a_tolerant_layer_goes_first() -> None:
    wary, tolerant = layer(0), layer(1)
    offers = {
        wary: [Choice(None, 400, 0.0), Choice(INT8, 200, 1.0), Choice(INT4, 100, 9.0)],
        tolerant: [Choice(None, 400, 0.0), Choice(INT8, 200, 0.001), Choice(INT4, 100, 0.01)],
    }
    plans = [mix.plan for mix in frontier(offers)]
    assert plans == [
        {}, {tolerant: INT8}, {tolerant: INT4}, {tolerant: INT4, wary: INT8},
        {tolerant: INT4, wary: INT4},
    ]  # fmt: skip


def test_the_smallest_that_holds_is_found_by_halves() -> None:
    mixes = [Mix({layer(0): Choice(None, size, 0.0)}) for size in range(100, 0, -1)]
    asked = []

    def keeps(mix: Mix) -> bool:
        asked.append(mix)
        return mix.bytes >= 37

    found = smallest_that(mixes, keeps)
    assert found is not None and found.bytes == 37 and len(asked) <= 8
    assert smallest_that(mixes, lambda mix: False) is None
    assert smallest_that(mixes, lambda mix: True) is mixes[-1]
