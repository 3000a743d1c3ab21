"""Strings found in a text while it is written, in whatever pieces it comes."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from omnijet.runtime.prompt.markers import Scanner

LETTERS = st.text("ab<", max_size=14)
MARKERS = st.lists(st.text("ab<", min_size=1, max_size=5), max_size=4)


def scanned(markers: list[str], *pieces: str) -> Scanner:
    scanner = Scanner(markers)
    for piece in pieces:
        scanner.push(piece)
    return scanner


def first_of(markers: list[str], text: str) -> tuple[int, int] | None:
    """Where the marker stands that is complete first, searched for in the plainest way."""
    for end in range(1, len(text) + 1):
        found = [marker for marker in markers if text[:end].endswith(marker)]
        if found:
            return end - max(map(len, found)), end
    return None


@given(MARKERS, LETTERS, st.integers(0, 14))
@example(["b", "ab"], "<ab", 2)
@example(["aab", "ab", "b<"], "aaab<", 3)
def test_the_first_complete_marker_counts_and_of_those_the_longest(
    markers: list[str], text: str, split: int
) -> None:
    scanner = scanned(markers, text[:split], text[split:])
    found = first_of(markers, text)
    assert (scanner.begin, scanner.end) == (found or (None, None))


@given(MARKERS, LETTERS)
def test_what_may_begin_a_marker_is_not_certain(markers: list[str], text: str) -> None:
    scanner = scanned(markers, text)
    if scanner.begin is None:
        held = [n for n in range(1, len(text) + 1) if any(m.startswith(text[-n:]) for m in markers)]
        assert scanner.certain == len(text) - max(held, default=0)
    else:
        assert scanner.certain == scanner.begin


def test_what_seemed_to_begin_a_marker_is_certain_later() -> None:
    scanner = Scanner(["<tool_call>"])
    for piece, certain in (("a <to", 2), ("ol", 2), ("kit> <", 12), ("<tool", 13)):
        scanner.push(piece)
        assert scanner.certain == certain
    scanner.push("_call> and more")
    assert (scanner.begin, scanner.end, scanner.certain) == (13, 24, 13)
