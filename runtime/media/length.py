"""How long a sound or clip is, and how large a picture, before any of it is decoded."""

from __future__ import annotations

import av
import soundfile

from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.allowed import CONTAINERS_TEXT, PICTURES_TEXT, SOUNDS_TEXT, foreign
from omnijet.runtime.media.container import container_of, reason
from omnijet.runtime.media.content import opened
from omnijet.runtime.media.packets import packets_of
from omnijet.runtime.media.pcm import RawFormat
from omnijet.runtime.media.picture_file import picture_of, quiet_pillow
from omnijet.runtime.media.quiet import quiet
from omnijet.runtime.media.riff import Patched, patches_of
from omnijet.runtime.media.sound_file import require_known

MOST_FRAMES = 1 << 40  # libsndfile's answer for what it does not know is larger
BITS = {"s8": 8, "u8": 8, "mulaw": 8, "alaw": 8}


def require_short_sound(
    content: bytes, most_seconds: float, raw: RawFormat | None = None, check: Check = never
) -> None:
    """Checks that a sound is not longer than allowed.

    The header of a file that libsndfile reads is believed: of such a file no more is decoded
    than the model hears. The packets of others are counted.

    Args:
        content: of a file that `load_audio` reads.
        most_seconds: the longest that is allowed.
        raw: how the samples of a file without a header are written.
        check: called now and then; it may raise to cancel.

    Raises:
        OmnijetError: it is longer, or no sound.
    """
    seconds = raw_seconds(content, raw) if raw is not None else _stated_seconds(content)
    if seconds is None:
        seconds = _packet_seconds(content, "audio", most_seconds, check)
    _require(seconds, most_seconds, "sound")


def require_short_clip(
    content: bytes, most_seconds: float, most_pixels: int, check: Check = never
) -> None:
    """Checks that a clip, or an animated picture, is neither longer nor larger than allowed.

    Raises:
        OmnijetError: it is, or it is no clip.
    """
    with quiet_pillow():
        try:
            with picture_of(content, "video") as picture:
                _require_pixels(picture.width, picture.height, most_pixels)
                return  # its frames are few: Pillow reads all of them from these bytes
        except OmnijetError:
            raise
        except Exception:  # no picture
            pass
    seconds = _packet_seconds(content, "video", most_seconds, check, most_pixels)
    _require(seconds, most_seconds, "clip")


def require_small_picture(content: bytes, most_pixels: int) -> None:
    """Checks that a picture is not larger than allowed.

    Raises:
        OmnijetError: it is, or it is no picture.
    """
    try:
        with quiet_pillow(), picture_of(content, None) as picture:
            width, height = picture.size
    except (OmnijetError, MemoryError):
        raise
    except Exception as error:  # Pillow raises whatever its parsers run into on a damaged file
        raise OmnijetError(
            "the picture cannot be read", expected=PICTURES_TEXT,
            got=foreign(content) or type(error).__name__,
        ) from None  # fmt: skip
    _require_pixels(width, height, most_pixels)


def raw_seconds(content: bytes, raw: RawFormat) -> float:
    """Returns how long raw samples last. Raises `OmnijetError` if the last is not whole."""
    bits = BITS.get(raw.encoding) or int(raw.encoding[1:3])
    size = bits // 8 * raw.channels
    if len(content) % size:
        raise OmnijetError(
            "the sound is no whole number of samples",
            expected=f"a multiple of {size} bytes", got=f"{len(content):,} bytes",
        )  # fmt: skip
    return len(content) / size / raw.rate_hz


def _stated_seconds(content: bytes) -> float | None:
    """Returns what the header of a file says that libsndfile knows; None if it does not."""
    try:
        with opened(content) as binary:
            require_known(binary)
            with quiet(), soundfile.SoundFile(Patched(binary, patches_of(binary))) as file:
                frames, rate = file.frames, file.samplerate
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError):
        return None
    return frames / rate if 0 < frames < MOST_FRAMES and rate > 0 else None


def _packet_seconds(
    content: bytes, kind: str, most: float, check: Check, most_pixels: int | None = None
) -> float:
    """Returns until when the packets of a track last; a little more than `most` is enough."""
    text = SOUNDS_TEXT if kind == "audio" else f"a clip with a picture: {CONTAINERS_TEXT}"
    what = "the sound cannot be read" if kind == "audio" else "the video cannot be read"
    try:
        with container_of(content) as container:
            tracks = container.streams.audio if kind == "audio" else container.streams.video
            if not tracks:
                missing = "sound" if kind == "audio" else "picture"
                raise ValueError(f"it has no {missing} track")
            context = tracks[0].codec_context
            if most_pixels is not None and isinstance(context, av.VideoCodecContext):
                _require_pixels(context.width, context.height, most_pixels)
            tick, first, last = float(tracks[0].time_base or 0), None, 0.0
            lasted = 0.0
            for packet in packets_of(container, tracks[0], check):
                length = (packet.duration or 0) * tick
                lasted += length
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None:
                    first = stamp * tick if first is None else first
                    last = max(last, stamp * tick + length - first)
                if max(last, lasted) > most + 1:
                    break
            return max(last, lasted)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise OmnijetError(what, expected=text, got=foreign(content) or reason(error)) from None


def _require(seconds: float, most: float, noun: str) -> None:
    if seconds > most:
        raise OmnijetError(
            f"the {noun} is too long",
            expected=f"at most {most:g} s",
            got=f"{seconds:.1f} s or more",
        )


def _require_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise OmnijetError(
            "the picture is too large",
            expected=f"at most {most:,} pixels",
            got=f"{width} x {height}, {width * height:,} pixels",
        )
