"""Text of foreign files and paths, made harmless for a terminal."""

from __future__ import annotations

import json
import logging
import re
from typing import Any, TextIO

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f"  # what steers a terminal: ESC and its like
    "\x7f-\x9f"  # DEL, and the same again as one character
    "\u2028\u2029"  # ends of lines that only some see as such
    "\u202a-\u202e\u2066-\u206f"  # what turns the order of text around, and deprecated marks
    "\ufff9-\ufffb"  # text that is shown above other text
    "\ud800-\udfff]"  # no characters: bytes that Python could not decode
)
_LINES = re.compile(r"[\n\t]")


def printable(text: str) -> str:
    r"""Returns the text with control characters escaped, so that it cannot steer a terminal.

    Line ends and tabs stay, and so do the joiners of emoji and the marks of Arabic and Hebrew.
    Bytes of names that are no UTF-8 are shown as `\xNN`.
    """
    return _UNSAFE.sub(_escaped, text)


def one_line(text: str) -> str:
    """Returns the text as `printable`, with line ends and tabs escaped, too."""
    return _LINES.sub(_escaped, printable(text))


def show(text: object = "", file: TextIO | None = None) -> None:
    """Prints a line of ours, in which foreign names and texts may be, on stdout or `file`."""
    print(printable(str(text)), file=file)


def json_shown(value: Any, file: TextIO | None = None) -> str:
    """Returns JSON that parses to the value, and that no terminal takes for more than text.

    Args:
        file: where it goes; what its encoding does not have is escaped as JSON has it.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False)
    if file is not None and not _takes(file, text):
        text = json.dumps(value, indent=1)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def json_line(value: Any) -> str:
    """Returns the same on one line of ASCII, for a log."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f")  # what is left of what steers a terminal


class LogFormat(logging.Formatter):
    """Formats a record as one line, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))


def for_reader(text: str, file: TextIO) -> str:
    """Returns what a model said: as it is for a program that reads it, `printable` for a person."""
    try:
        return printable(text) if file.isatty() else text
    except ValueError:  # it is closed, and printing says so
        return text


def _takes(file: TextIO, text: str) -> bool:
    """Returns whether the encoding of a file has all characters of a text but surrogates."""
    try:
        text.encode(file.encoding or "utf-8", "surrogatepass")
    except (UnicodeError, LookupError):
        return False
    return True


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
