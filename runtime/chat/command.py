"""`omnijet chat`: talks with a bundle, or with a server."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from omnijet.runtime.chat import options
from omnijet.runtime.chat.answering import answering
from omnijet.runtime.chat.parts import Parts
from omnijet.runtime.chat.playback import RATE_HZ
from omnijet.runtime.chat.portaudio import device_lines
from omnijet.runtime.files.printable import show
from omnijet.runtime.media.audio import load_audio


def add_arguments(parser: ArgumentParser) -> None:
    options.add_arguments(parser)


def run(args: Namespace) -> int:
    """Talks. Replies go to stdout as text, and to the speaker or `--output` as sound."""
    if args.list_devices:
        for line in device_lines():
            show(line)
        return 0
    options.check(args)
    recordings = [load_audio(path, RATE_HZ) for path in args.input]
    with answering(args) as who, Parts(args, who, recordings) as parts:
        parts.chat.run()
    return parts.outcome()
