"""Pictures and clips as the parts of a message that a realtime server takes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.chat.playback import RATE_HZ
from omnijet.runtime.chat.wire import encoded
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.audio import has_audio, load_audio
from omnijet.runtime.media.image import load_image
from omnijet.runtime.media.sizing import Sizing
from omnijet.runtime.media.video import load_video

MOST_FRAMES = 8
MOST_SIDE = 1536
MOST_PNG_BYTES = 1 << 20
JPEG_QUALITY = 92
MOST_CLIP_S = 60.0  # of its sound

USUAL = Preprocessing(
    patch=14, temporal_patch=2, merge=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
    image_min_pixels=3136, image_max_pixels=MOST_SIDE**2, sample_rate_hz=16_000, n_fft=400,
    hop=160, n_mels=128, max_audio_seconds=300,
)  # fmt: skip
"""Sizes of frames for a server whose model is not known here: those of Qwen2.5-Omni."""


def picture_parts(path: Path) -> list[dict[str, Any]]:
    """Returns a picture as the content of a message.

    Raises:
        OmnijetError: it cannot be read.
    """
    image = load_image(path)
    if max(image.size) > MOST_SIDE:
        image.thumbnail((MOST_SIDE, MOST_SIDE))
    return [_part(image)]


def clip_parts(path: Path, preprocessing: Preprocessing = USUAL) -> list[dict[str, Any]]:
    """Returns a clip as the content of a message: some of its frames, and then its sound.

    Args:
        path: a clip, or an animated picture.
        preprocessing: sizes of its frames.

    Raises:
        OmnijetError: it cannot be read.
    """
    sizing = Sizing(min_frames=2, max_frames=MOST_FRAMES)
    frames = load_video(path, preprocessing, with_audio=False, sizing=sizing).frames
    parts = [_part(Image.fromarray(frame)) for frame in frames]
    if _has_sound(path):
        sound = load_audio(path, RATE_HZ, MOST_CLIP_S)
        parts.append({"type": "input_audio", "audio": encoded(sound)})
    return parts


def _part(image: Image.Image) -> dict[str, Any]:
    """Returns a picture as PNG, or as JPEG where that is large."""
    content, kind = io.BytesIO(), "png"
    image.save(content, "PNG")
    if content.tell() > MOST_PNG_BYTES:
        content, kind = io.BytesIO(), "jpeg"
        image.convert("RGB").save(content, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(content.getvalue()).decode()
    return {"type": "input_image", "image_url": f"data:image/{kind};base64,{data}"}


def _has_sound(path: Path) -> bool:
    try:
        return has_audio(path)
    except OmnijetError:
        raise
    except Exception:  # an animated picture is no clip to FFmpeg, or one that it cannot open
        return False
