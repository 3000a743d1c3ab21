"""Who answers in a chat: a bundle here, or a server."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.chat.address import api_key, is_exposed, websocket_address
from omnijet.runtime.chat.local import LocalTransport
from omnijet.runtime.chat.pictures import clip_parts
from omnijet.runtime.chat.transport import Transport
from omnijet.runtime.commands.console import say
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.errors import OmnijetError

ShowClip = Callable[[Path], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Answering:
    """Who answers.

    Attributes:
        transport: the way to them.
        speaks: whether replies have sound.
        clip: makes the content of a message of a clip.
    """

    transport: Transport
    speaks: bool
    clip: ShowClip


@contextmanager
def answering(args: Namespace) -> Iterator[Answering]:
    """Yields who answers, as the options say.

    Raises:
        OmnijetError: the bundle cannot be opened, or the address or key is unusable.
    """
    if args.server is not None:
        yield Answering(_server(args), not args.no_speech, clip_parts)
        return
    omni = opened(args)
    with omni, Assistant(omni, Limits(sessions=2)) as assistant:
        speaks = not args.no_speech and omni.bundle.speaks()
        if not speaks and not args.no_speech:
            say("this bundle has no voice: it answers in text only")
        clip = partial(clip_parts, preprocessing=omni.model.preprocessing)
        yield Answering(LocalTransport(assistant, args.preset or "exact"), speaks, clip)


def _server(args: Namespace) -> Transport:
    try:
        from omnijet.runtime.chat.remote import RemoteTransport
    except ModuleNotFoundError as error:
        raise OmnijetError(
            "--server needs more than the runtime",
            expected="the extra [chat]",
            got=f"no module named {error.name}",
            fix='pip install "omnijet[chat]"',
        ) from error
    address, key = websocket_address(args.server, args.model), api_key(args.api_key_file)
    if key is not None and is_exposed(address):
        say("the key and the conversation can be read on the way: use https or wss")
    return RemoteTransport(address, key)
