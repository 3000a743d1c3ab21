"""Guesses from earlier tokens: what is guessed, and how sure."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from omnijet.runtime.model.lookup import CANDIDATES, LONGEST, SHORTEST, UNKNOWN, Lookup

END = 9


def lookup(*ids: int) -> Lookup:
    return Lookup(np.array(ids, np.int64), frozenset({END}))


def matched(ids: list[int], place: int) -> int:
    """Returns how many tokens up to `place` are those at the end."""
    length = 0
    while length < LONGEST and place >= length:
        here, end = ids[place - length], ids[len(ids) - 1 - length]
        if here != end or end == UNKNOWN:
            break
        length += 1
    return length


def test_what_followed_the_last_tokens_is_guessed() -> None:
    guess = lookup(1, 2, 3, 4, 5, 1, 2).guess(3)
    assert guess.tokens == [3, 4, 5] and len(guess.chances) == 3
    assert guess.chances == sorted(guess.chances), "a longer match is surer"
    assert lookup(1, 2, 3, 4, 5, 1, 2).guess(1).tokens == [3]
    assert lookup(1, 2, 3, 4, 5, 2, 1).guess(3).tokens == []
    assert lookup(1, 2, 3, 1, 2).guess(0).tokens == []
    assert lookup().guess(3).tokens == lookup(5).guess(3).tokens == lookup(5, 5).guess(3).tokens


def test_the_longest_match_goes_before_the_latest() -> None:
    assert lookup(7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2).guess(1).tokens == [3]
    assert lookup(6, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2).guess(1).tokens == [4], "else the latest"


def test_what_repeats_itself_goes_on() -> None:
    assert lookup(4, 1, 2, 1, 2).guess(5).tokens == [1, 2, 1, 2, 1]
    assert lookup(8, 8, 8).guess(4).tokens == [8, 8, 8, 8]


def test_neither_media_nor_ends_are_guessed() -> None:
    assert lookup(1, 2, UNKNOWN, 3, 1, 2).guess(3).tokens == []
    assert lookup(1, 2, 3, UNKNOWN, 1, 2).guess(3).tokens == [3]
    assert lookup(1, 2, 3, END, 4, 1, 2).guess(4).tokens == [3]
    assert lookup(UNKNOWN, UNKNOWN, UNKNOWN, 3, UNKNOWN, UNKNOWN).guess(2).tokens == []
    assert lookup(UNKNOWN, 2, 3, UNKNOWN, 2).guess(2).tokens == []


@given(
    st.lists(st.integers(0, 3) | st.just(UNKNOWN), max_size=30),
    st.lists(st.integers(0, 3), min_size=1, max_size=80),
)
def test_every_guess_follows_a_match(prompt: list[int], reply: list[int]) -> None:
    made, ids = lookup(*prompt), list(prompt)
    for token in reply:
        made.push(token)
        ids.append(token)
        lengths = {place: matched(ids, place) for place in range(len(ids) - 1)}
        good = [place for place, length in lengths.items() if length >= SHORTEST]
        guess = made.guess(1)
        if not good:
            assert guess.tokens == []
        elif guess.tokens:
            follow = [ids[place + 1] for place in good]
            assert guess.tokens[0] in follow
        else:
            assert any(ids[place + 1] in (UNKNOWN, END) for place in good)


@given(st.lists(st.integers(0, 2), min_size=8, max_size=60))
def test_a_prompt_gives_the_longest_of_its_last_matches(prompt: list[int]) -> None:
    pairs = [place for place in range(len(prompt) - 1) if matched(prompt, place) >= SHORTEST]
    guess = lookup(*prompt).guess(1)
    if not pairs:
        assert guess.tokens == []
        return
    last = pairs[-CANDIDATES:]
    best = max(last, key=lambda place: (matched(prompt, place), place))
    assert guess.tokens == [prompt[best + 1]]


def test_chances_follow_what_came_true() -> None:
    rng = np.random.default_rng(0)
    copied, random = lookup(), lookup()
    text = rng.integers(0, 1000, 50).tolist()
    for token in text * 6:
        copied.push(token)
    for token in rng.integers(0, 6, 400).tolist():
        random.push(token)
    assert min(copied.guess(6).chances) > 0.9
    guess = random.guess(6)
    assert not guess.tokens or guess.chances[0] < 0.5
    assert copied.guess(6).tokens == text[:6]


def test_a_long_reply_has_room() -> None:
    made = lookup(1, 2, 3)
    for token in range(5000):
        made.push(token % 1700)
    assert made.guess(4).tokens == [5000 % 1700 + step for step in range(4)]
