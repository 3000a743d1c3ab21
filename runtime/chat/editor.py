"""The line that is being typed, key by key."""

from __future__ import annotations

import codecs
import re

from omnijet.runtime.chat.transport import End, Interrupt, Line, News, Typing

_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?")
MOST_LETTERS = 65_536


class Editor:
    """Makes lines of what a terminal sends in raw mode. Cursor keys do nothing."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, content: bytes) -> list[News]:
        """Takes what was typed; returns what follows of it."""
        made: list[News] = []
        for letter in _ESCAPE.sub("", self._decoder.decode(content)):
            if letter in "\r\n":
                made.append(Line(self._text))
                self._text = ""
            elif letter == "\x03":
                made.append(Interrupt())
                self._text = ""
            elif letter == "\x04":
                if not self._text:
                    made.append(End())
            elif letter in "\x7f\x08":
                self._text = self._text[:-1]
            elif letter == "\x15":  # Ctrl-U
                self._text = ""
            elif letter == "\x17":  # Ctrl-W
                self._text = self._text.rstrip().rpartition(" ")[0]
                self._text += " " if self._text else ""
            elif letter.isprintable() and len(self._text) < MOST_LETTERS:
                self._text += letter
        return [*made, Typing(self._text)]


class Lines:
    """Makes lines of what comes through a pipe, or from a terminal that edits them itself."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, content: bytes) -> list[News]:
        """Takes what came; nothing is its end."""
        self._text += self._decoder.decode(content, final=not content)
        *lines, self._text = self._text.split("\n")
        made: list[News] = [Line(line.rstrip("\r")) for line in lines]
        if not content:
            made += [Line(self._text)] if self._text else []
            made.append(End())
        elif len(self._text) > MOST_LETTERS:
            made.append(Line(self._text))
            self._text = ""
        return made
