"""What stands between `<tool_call>` and `</tool_call>`, read character by character."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from omnijet.runtime.files.json_text import BadJson, parsed
from omnijet.runtime.prompt.tool_text import NAME

_SPACE = " \t\r\n"
_OPENING = re.compile(r'[\[{"]')


class BrokenCall(Exception):
    """What the model wrote is no call."""


class CallBody:
    """Reads `{"name": ..., "arguments": {...}}` in any order of keys.

    Other keys are read over. Arguments may be a string that holds the JSON of an object; without
    any the object is empty.

    Attributes:
        name: of the function, once it is known.
        arguments: JSON of an object so far, to the letter as the model writes it.
        has_arguments: whether they have begun.
        is_whole: whether the object is closed.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.arguments = ""
        self.has_arguments = False
        self.is_whole = False
        self._read: Callable[[str], None] = self._before
        self._keys: list[str] = []
        self._value = ""
        self._depth, self._is_quoted, self._is_escaped = 0, False, False

    @property
    def is_callable(self) -> bool:
        """Whether nothing but the last bracket can be missing: some models forget it."""
        has_all = self.name is not None and "arguments" in self._keys
        return has_all and self._read == self._after_value

    def push(self, letter: str) -> None:
        """Reads a character. Raises `BrokenCall`."""
        self._read(letter)

    def _before(self, letter: str) -> None:
        if letter not in _SPACE:
            self._expect(letter, "{")
            self._read = self._first_key

    def _first_key(self, letter: str) -> None:
        if letter == "}":
            self._close()
        elif letter not in _SPACE:
            self._before_key(letter)

    def _before_key(self, letter: str) -> None:
        if letter not in _SPACE:
            self._expect(letter, '"')
            self._begin(letter, self._in_key)

    def _in_key(self, letter: str) -> None:
        if not self._goes_on(letter):
            key = str(_json(self._value))
            if key in self._keys:
                raise BrokenCall
            self._keys.append(key)
            self._read = self._before_colon

    def _before_colon(self, letter: str) -> None:
        if letter not in _SPACE:
            self._expect(letter, ":")
            self._read = self._before_value

    def _before_value(self, letter: str) -> None:
        if letter in _SPACE:
            return
        if self._keys[-1] == "arguments" and letter not in '{"n':
            raise BrokenCall
        if _OPENING.match(letter):
            self._begin(letter, self._in_value)
        else:
            self._value, self._read = letter, self._in_scalar
        self._note(letter)

    def _in_value(self, letter: str) -> None:
        goes_on = self._goes_on(letter)
        self._note(letter)
        if not goes_on:
            self._keep()

    def _in_scalar(self, letter: str) -> None:
        if letter in _SPACE or letter in ",}":
            self._keep()
            self._after_value(letter)
        else:
            self._value += letter

    def _after_value(self, letter: str) -> None:
        if letter == "}":
            self._close()
        elif letter not in _SPACE:
            self._expect(letter, ",")
            self._read = self._before_key

    def _after_all(self, letter: str) -> None:
        raise AssertionError("the object is closed")

    def _begin(self, letter: str, read: Callable[[str], None]) -> None:
        """Begins a string, list or object."""
        self._value, self._read = letter, read
        self._is_quoted, self._is_escaped = letter == '"', False
        self._depth = int(letter != '"')

    def _goes_on(self, letter: str) -> bool:
        """Adds a character to the value; returns whether more of it must come."""
        self._value += letter
        if self._is_escaped:
            self._is_escaped = False
        elif letter == '"':
            self._is_quoted = not self._is_quoted
        elif self._is_quoted:
            self._is_escaped = letter == "\\"
        elif letter in "{[":
            self._depth += 1
        elif letter in "]}":
            self._depth -= 1
        return self._depth > 0 or self._is_quoted

    def _note(self, letter: str) -> None:
        """Passes a character of the arguments on, if they are no string."""
        if self._keys[-1] == "arguments" and self._value.startswith("{"):
            self.arguments += letter
            self.has_arguments = True

    def _keep(self) -> None:
        """Takes a whole value."""
        key, value = self._keys[-1], _json(self._value)
        self._read = self._after_value
        if key == "name":
            if not isinstance(value, str) or not NAME.fullmatch(value):
                raise BrokenCall
            self.name = value
        elif key == "arguments" and value is not None:
            if isinstance(value, str):
                self.arguments, self.has_arguments = value, True
                value = _json(value)
            if not isinstance(value, dict):
                raise BrokenCall

    def _close(self) -> None:
        if self.name is None:
            raise BrokenCall
        self.is_whole, self._read = True, self._after_all

    def _expect(self, letter: str, expected: str) -> None:
        if letter != expected:
            raise BrokenCall


def _json(text: str) -> Any:
    try:
        return parsed(text)
    except BadJson as error:
        raise BrokenCall from error
