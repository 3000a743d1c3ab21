"""The text of a reply, parted into what is said and which tools are called."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from omnijet.runtime.prompt.tool_calls import (
    CallArguments,
    CallBegun,
    Piece,
    Text,
    ToolCallParser,
)


@dataclass(slots=True)
class CalledTool:
    """One call. Of one that broke off, the arguments are what came of them."""

    id: str
    name: str
    arguments: str = ""

    def whole(self) -> dict[str, Any]:
        """Returns the call as a message has it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


@dataclass(slots=True)
class SaidAndCalled:
    """Reads a reply while it is written.

    Attributes:
        text: what was said so far, without the calls.
        calls: of tools, so far.
    """

    names: Sequence[str]
    text: str = ""
    calls: list[CalledTool] = field(default_factory=list)
    _parser: ToolCallParser | None = None

    def __post_init__(self) -> None:
        if self.names:
            self._parser = ToolCallParser(self.names)

    def push(self, text: str) -> Iterator[str | dict[str, Any]]:
        """Reads what follows; yields text, and pieces of `delta.tool_calls`."""
        if self._parser is None:
            self.text += text
            if text:
                yield text
            return
        yield from self._read(self._parser.push(text))

    def rest(self) -> Iterator[str | dict[str, Any]]:
        """Yields what still waited at the end of the reply."""
        if self._parser is not None:
            yield from self._read(self._parser.rest())

    def _read(self, pieces: Sequence[Piece]) -> Iterator[str | dict[str, Any]]:
        for piece in pieces:
            if isinstance(piece, Text):
                self.text += piece.text
                yield piece.text
            elif isinstance(piece, CallBegun):
                call = CalledTool(f"call_{secrets.token_hex(12)}", piece.name)
                self.calls.append(call)
                yield {"index": piece.index, **call.whole()}
            elif isinstance(piece, CallArguments):
                self.calls[piece.index].arguments += piece.fragment
                yield {"index": piece.index, "function": {"arguments": piece.fragment}}
