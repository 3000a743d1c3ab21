"""Strings that are looked for in a text while it is still being written."""

from __future__ import annotations

from collections.abc import Sequence


class Scanner:
    """Looks for the first of some markers in a text that comes piece by piece.

    The marker counts that is complete first, and of those that are complete at the same character
    the longest. So it does not matter in which pieces the text comes.

    Args:
        markers: none of them empty; without any, nothing is found.

    Attributes:
        length: characters read.
        begin: where the marker begins; None until it is found. Nothing is read after it.
        end: where it ends.
    """

    def __init__(self, markers: Sequence[str]) -> None:
        self._markers = [(marker, _borders(marker)) for marker in dict.fromkeys(markers)]
        self._matched = [0] * len(self._markers)  # characters of each that the text ends in
        self.length = 0
        self.begin: int | None = None
        self.end: int | None = None

    def push(self, text: str) -> None:
        """Reads what follows."""
        if not self._markers:
            self.length += len(text)
            return
        for letter in text:
            if self.begin is not None:
                return
            self._read(letter)

    @property
    def certain(self) -> int:
        """How many characters surely stand before the marker, if there is one."""
        if self.begin is not None:
            return self.begin
        return self.length - max(self._matched, default=0)

    def _read(self, letter: str) -> None:
        """Reads a character, as Knuth, Morris and Pratt do it."""
        self.length += 1
        found = 0
        for number, (marker, borders) in enumerate(self._markers):
            matched = self._matched[number]
            while matched and marker[matched] != letter:
                matched = borders[matched - 1]
            matched += marker[matched] == letter
            self._matched[number] = matched
            if matched == len(marker):
                found = max(found, matched)
        if found:
            self.begin, self.end = self.length - found, self.length


def _borders(marker: str) -> list[int]:
    """Returns, for each beginning of a marker, how much of its end is a shorter beginning."""
    borders, matched = [0], 0
    for letter in marker[1:]:
        while matched and marker[matched] != letter:
            matched = borders[matched - 1]
        matched += marker[matched] == letter
        borders.append(matched)
    return borders
