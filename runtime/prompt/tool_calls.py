"""Calls of tools in the text that a model writes, found while it is being written.

    parser = ToolCallParser(tools.names)
    for delta in stream:
        for piece in parser.push(delta.text): ...
    for piece in parser.rest(): ...

What looks like a call and is none (no JSON, no name) is given back as text, markers included, as
long as nothing of it was given out. Of a call whose arguments break off or turn out to be no JSON,
name and fragments are out already: it ends in `CallBroken`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

from omnijet.runtime.prompt.call_body import BrokenCall, CallBody
from omnijet.runtime.prompt.tool_text import CALL, CALL_END


@dataclass(frozen=True, slots=True)
class Text:
    """Text that belongs to no call. White space around calls is no part of it."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call begins.

    Attributes:
        index: of the call in the reply, from 0.
        is_known: whether there is such a tool.
    """

    index: int
    name: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class CallArguments:
    """What follows of a call's arguments. All fragments are the model's JSON of one object."""

    index: int
    fragment: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is whole; its arguments are JSON of an object."""

    index: int


@dataclass(frozen=True, slots=True)
class CallBroken:
    """A call that had begun is none: the text ended in it, or it is no JSON.

    What the model wrote up to the next marker is left out of the text.
    """

    index: int


Piece: TypeAlias = Text | CallBegun | CallArguments | CallEnded | CallBroken


class ToolCallParser:
    """Splits a reply into text and calls.

    Args:
        names: of the tools that there are.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._read: Callable[[str], None] = self._in_text
        self._pieces: list[Piece] = []
        self._space = self._marker = ""  # what waits: white space and what may begin a marker
        self._raw = ""  # of the call that is being read, its marker included
        self._body = CallBody()
        self._count = 0
        self._is_out = False  # whether something of this call was given out
        self._sent = 0  # characters of its arguments that were

    def push(self, delta: str) -> list[Piece]:
        """Reads what follows; returns the pieces that are certain now."""
        for letter in delta:
            self._read(letter)
        return self._taken()

    def rest(self) -> list[Piece]:
        """Returns what still waits at the end of the text."""
        if self._read == self._in_call:
            self._end_call()
        if self._read != self._in_broken:
            self._text(self._space + self._marker)
        self._space = self._marker = ""
        return self._taken()

    def _in_text(self, letter: str) -> None:
        if CALL.startswith(self._marker + letter):
            self._marker += letter
            if self._marker == CALL:
                self._begin_call()
        elif letter.isspace() and not self._marker:
            self._space += letter
        else:
            self._to_text(self._space + self._marker + letter)

    def _after_call(self, letter: str) -> None:
        self._marker += letter
        if self._marker == CALL:
            self._begin_call()
        elif self._marker == CALL_END or self._marker.isspace():
            self._marker = ""
        elif not CALL.startswith(self._marker) and not CALL_END.startswith(self._marker):
            self._to_text(self._marker)

    def _in_broken(self, letter: str) -> None:
        """Reads over the rest of a broken call."""
        self._marker = _opening(self._marker + letter, CALL, CALL_END)
        if self._marker == CALL:
            self._begin_call()
        elif self._marker == CALL_END:
            self._marker, self._read = "", self._after_call

    def _in_call(self, letter: str) -> None:
        self._raw += letter
        body = self._body
        if letter == CALL_END[0] and body.is_callable:
            self._end_call()
            self._after_call(letter)
            return
        try:
            body.push(letter)
        except BrokenCall:
            self._break_call()
            return
        if not self._is_out and body.name is not None and body.has_arguments:
            self._announce(body.name)
        if body.is_whole:
            self._end_call()

    def _begin_call(self) -> None:
        self._space = self._marker = ""
        self._raw, self._body = CALL, CallBody()
        self._is_out, self._sent, self._read = False, 0, self._in_call

    def _announce(self, name: str) -> None:
        self._is_out = True
        self._pieces.append(CallBegun(self._count, name, name in self._names))

    def _give_arguments(self) -> None:
        """Gives out what has come of the arguments of a call that was announced."""
        arguments = self._body.arguments
        if len(arguments) > self._sent:
            self._pieces.append(CallArguments(self._count, arguments[self._sent :]))
            self._sent = len(arguments)

    def _end_call(self) -> None:
        """Ends a call: whole, without its last bracket, or in the middle."""
        body = self._body
        if body.name is None or not (body.is_whole or body.is_callable):
            self._break_call()
            return
        if not self._is_out:  # there are no arguments
            self._announce(body.name)
            body.arguments = "{}"
        self._give_arguments()
        self._pieces.append(CallEnded(self._count))
        self._count += 1
        self._read = self._after_call

    def _break_call(self) -> None:
        if not self._is_out:
            self._to_text(self._raw)
            return
        self._give_arguments()
        self._pieces.append(CallBroken(self._count))
        self._count += 1
        self._marker, self._read = _opening(self._raw, CALL, CALL_END), self._in_broken

    def _to_text(self, text: str) -> None:
        """Gives out text, but for the white space and the marker that its end may begin."""
        self._marker = _opening(text, CALL)
        before = text[: len(text) - len(self._marker)]
        certain = before.rstrip()
        self._space, self._read = before[len(certain) :], self._in_text
        self._text(certain)

    def _text(self, text: str) -> None:
        if text:
            self._pieces.append(Text(text))

    def _taken(self) -> list[Piece]:
        """Takes what can be given out now."""
        if self._read == self._in_call and self._is_out:
            self._give_arguments()
        taken, self._pieces = self._pieces, []
        return joined(taken)


def _opening(text: str, *markers: str) -> str:
    """Returns the longest end of a text that one of the markers begins with, or is."""
    for length in range(min(len(text), max(map(len, markers))), 0, -1):
        if any(marker.startswith(text[-length:]) for marker in markers):
            return text[-length:]
    return ""


def joined(pieces: list[Piece]) -> list[Piece]:
    """Returns the same pieces with neighbours of one text or call put together."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if isinstance(piece, Text) and isinstance(last, Text):
            found[-1] = Text(last.text + piece.text)
        elif isinstance(piece, CallArguments) and isinstance(last, CallArguments):
            found[-1] = CallArguments(piece.index, last.fragment + piece.fragment)
        else:
            found.append(piece)
    return found
