"""Tells what a medium is that cannot be used as what it was given for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import av

from omnijet.runtime.media.allowed import SURE_PICTURES
from omnijet.runtime.media.container import container_of
from omnijet.runtime.media.picture_file import picture_format

Kind = Literal["image", "audio", "video"]

_HINTS: dict[Kind, str] = {
    "image": "it is a picture: give it as image (--image)",
    "audio": "it has no picture, but sound: give it as audio (--audio)",
    "video": "it is a clip: give it as video (--video)",
}


def way_out(source: Path | bytes, given_as: Kind) -> str | None:
    """Returns the advice to give a medium as what it is; None if it is no other kind."""
    found = kind_of(source)
    return None if found is None or found == given_as else _HINTS[found]


def kind_of(source: Path | bytes) -> Kind | None:
    """Returns what a medium is by its content, as far as Pillow and FFmpeg know it."""
    if picture_format(source, SURE_PICTURES):
        return "image"
    try:
        with container_of(source) as container:
            covers = av.stream.Disposition.attached_pic
            if any(not stream.disposition & covers for stream in container.streams.video):
                return "video"
            return "audio" if container.streams.audio else None
    except (av.FFmpegError, OSError, ValueError):
        return None
