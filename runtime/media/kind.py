"""Tells what a medium is that cannot be used as what it was given for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import av
from PIL import Image

from omnijet.runtime.media.source import opened

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(opened(source)):
                return "image"
    except Exception:  # whatever a parser runs into: it is no picture then
        pass
    try:
        with av.open(opened(source), "r") as container:
            if container.format.name in ("image2", "tty") or "_pipe" in container.format.name:
                return None  # FFmpeg went by the name
            covers = av.stream.Disposition.attached_pic
            if any(not stream.disposition & covers for stream in container.streams.video):
                return "video"
            return "audio" if container.streams.audio else None
    except (av.FFmpegError, OSError, ValueError):
        return None
