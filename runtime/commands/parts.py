"""The options that make up the user's message, and what is piped into them."""

from __future__ import annotations

import io
import math
import os
import sys
from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import Any

from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.pcm import ENCODINGS, EXAMPLE, RawFormat
from omnijet.runtime.media.source import is_pipe, readable

Part = dict[str, Any]

_STDIN = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


class _Add(Action):
    """Collects text and media in the order of the command line."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        part: Part = {"type": self.dest, self.dest: values}
        if self.dest == "audio" and namespace.audio_format is not None:
            part["format"], namespace.audio_format = namespace.audio_format, None
        namespace.parts = [*(namespace.parts or []), part]


class _Format(Action):
    """Gives the sound before it its format, or the next one if that has one or there is none."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        try:
            RawFormat.parse(str(values))
        except ValueError as error:
            raise ArgumentError(self, str(error)) from error
        sounds = [part for part in namespace.parts or [] if part["type"] == "audio"]
        if sounds and "format" not in sounds[-1]:
            sounds[-1]["format"] = values
        else:
            namespace.audio_format = values


def add_parts(parser: ArgumentParser) -> None:
    """Adds `--text`, `--image`, `--audio`, `--video`, and how raw sounds are written."""
    message = parser.add_argument_group("the user's message, in the order given")
    message.add_argument("--text", action=_Add, metavar="T", help="add text; may repeat")
    for kind in ("image", "audio", "video"):
        message.add_argument(
            f"--{kind}", action=_Add, metavar="P", help=f"add {kind}; may repeat; - is stdin"
        )
    message.add_argument(
        "--audio-format", action=_Format, metavar="F",
        help=f"raw samples in the --audio beside it, ENCODING:RATE:CHANNELS, as {EXAMPLE}; "
        f"encodings: {', '.join(ENCODINGS)}",
    )  # fmt: skip
    sizes = parser.add_argument_group("sizes of pictures and clips")
    sizes.add_argument(
        "--max-pixels", type=whole_number(1), metavar="N",
        help="largest area of a picture or frame; smaller ones cost fewer tokens",
    )  # fmt: skip
    sizes.add_argument(
        "--max-frames", type=whole_number(1), metavar="N", help="most frames of a clip"
    )
    sizes.add_argument("--fps", type=_rate, metavar="X", help="frames of a clip taken a second")
    sizes.add_argument(
        "--strict-size", action="store_true",
        help="refuse what is too large for the engine or the context instead of shrinking it",
    )  # fmt: skip
    parser.set_defaults(parts=None, audio_format=None)


def size_options(args: Namespace) -> dict[str, Any]:
    """Returns what was given of the sizes, by its names in `Options`."""
    names = ("max_pixels", "max_frames", "fps")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    return {**given, "strict_size": args.strict_size}


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def check_parts(args: Namespace) -> None:
    """Raises `OmnijetError` if there is no message, or a part that cannot be meant."""
    if not args.parts:
        raise OmnijetError(
            "there is nothing to answer",
            expected="at least one of --text, --image, --audio, --video",
            fix='for example: omnijet run BUNDLE --text "Who are you?"',
        )
    if args.audio_format is not None:
        raise OmnijetError("--audio-format describes an --audio, and there is none for it")
    piped = [part for part in args.parts if _is_stdin(part)]
    if len(piped) > 1:
        raise OmnijetError(
            "stdin can be read only once",
            got=", ".join(f"--{part['type']} {part[part['type']]}" for part in piped),
            fix="store what is piped in a file and give its path",
        )


def read_pipes(parts: Sequence[Part]) -> list[Part]:
    """Returns the parts with the contents of stdin and of pipes.

    They are read here, where Ctrl-C ends the wait for whoever writes.
    """
    made = []
    for part in parts:
        kind = part["type"]
        name = part[kind]
        if kind != "text" and name == "-":
            made.append({**part, kind: _Piped(_stdin(f"--{kind} -"), "stdin")})
        elif kind != "text" and is_pipe(name):
            content = readable(name, kind, name)
            assert isinstance(content, bytes)
            made.append({**part, kind: _Piped(content, name)})
        else:
            made.append(part)
    return made


class _Piped(io.BytesIO):
    """What came through a pipe; messages name it as the user did."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def _is_stdin(part: Part) -> bool:
    name = part[part["type"]]
    if part["type"] == "text" or name not in ("-", *_STDIN):
        return False
    return name == "-" or not os.path.isfile(name)  # a redirected file is opened anew


def _stdin(where: str) -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise OmnijetError(
            "nothing is piped into stdin",
            where=where,
            expected="the content of a file",
            got="no stdin" if sys.stdin is None else "the terminal",
            fix=f"for example: omnijet run BUNDLE {where} < FILE",
        )
    content = readable(sys.stdin.buffer, "stdin", where)
    assert isinstance(content, bytes)
    return content
