"""The options of `omnijet chat`."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from omnijet.runtime.bundle.output import require_output
from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.voice.detector import Pauses


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "bundle", type=Path, nargs="?", metavar="BUNDLE", help="folder of the bundle; or --server"
    )
    server = parser.add_argument_group("a server in place of a bundle")
    server.add_argument(
        "--server", metavar="URL", help="of `omnijet serve`, or of another Realtime API"
    )
    server.add_argument("--model", metavar="NAME", help="model of a server that has several")
    server.add_argument(
        "--api-key-file", type=Path, metavar="FILE",
        help="file with the key of the server; else the environment's OMNIJET_API_KEY",
    )  # fmt: skip
    talk = parser.add_argument_group("the conversation")
    talk.add_argument("--system", metavar="S", help="system prompt")
    talk.add_argument("--voice", metavar="NAME", help="speaker")
    talk.add_argument(
        "--preset", choices=PRESETS, help="quality of a bundle's speech; exact by default"
    )
    talk.add_argument("--no-speech", action="store_true", help="replies as text only")
    talk.add_argument(
        "--push-to-talk", action="store_true",
        help="Enter begins and ends a spoken question; else a pause ends it",
    )  # fmt: skip
    talk.add_argument(
        "--pause", type=whole_number(50), default=Pauses().silence_ms, metavar="MS",
        help="the pause that ends a spoken question; %(default)s by default",
    )  # fmt: skip
    talk.add_argument(
        "--threshold", type=_share, default=Pauses().threshold, metavar="X",
        help="how sure it must be that somebody speaks, in (0, 1); %(default)s by default",
    )  # fmt: skip
    devices = parser.add_argument_group("devices")
    devices.add_argument("--list-devices", action="store_true", help="show them, and end")
    devices.add_argument(
        "--microphone", type=whole_number(0), metavar="N", help="number of the microphone"
    )
    devices.add_argument(
        "--speaker", type=whole_number(0), metavar="N", help="number of the speaker"
    )
    devices.add_argument(
        "--no-microphone", action="store_true", help="questions are typed or piped in"
    )
    devices.add_argument(
        "--duplex", choices=("half", "full"), default="half",
        help="half: the microphone is closed while a reply sounds; full: speaking interrupts it, "
        "which takes headphones or an echo canceller; %(default)s by default",
    )  # fmt: skip
    files = parser.add_argument_group("files in place of devices")
    files.add_argument(
        "--input", type=Path, action="append", default=[], metavar="a.wav",
        help="a spoken question; may repeat, each is asked when the reply before has sounded",
    )  # fmt: skip
    files.add_argument("--output", type=Path, metavar="b.wav", help="what was heard of all replies")
    files.add_argument(
        "--fast", action="store_true", help="with files: as fast as possible, not in real time"
    )
    add_backend(parser)


def check(args: Namespace) -> None:
    """Raises `OmnijetError` if options contradict each other."""
    if (args.bundle is None) == (args.server is None):
        raise OmnijetError(
            "it must be said who answers, and once",
            expected="BUNDLE or --server URL",
            got="neither" if args.bundle is None else "both",
        )
    if args.server is not None and (args.provider or args.engines or args.preset):
        raise OmnijetError("--provider, --engines and --preset are for a bundle, not for a server")
    if args.server is None and (args.model or args.api_key_file):
        given = "--model" if args.model else "--api-key-file"
        raise OmnijetError(f"{given} is for a server", fix="give --server URL, too")
    if args.no_speech and (args.output is not None or args.voice is not None):
        given = "--output" if args.output is not None else "--voice"
        raise OmnijetError(
            f"{given} asks for speech, and --no-speech for none",
            fix=f"leave out {given} or --no-speech",
        )
    if args.fast and args.output is None and not args.no_speech:
        raise OmnijetError(
            "--fast cannot be heard on a speaker", fix="give --output b.wav, or --no-speech"
        )
    if args.output is not None:
        require_output(args.output)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ArgumentTypeError(f"expected a number above 0 and below 1, got {text!r}")
    return value
