"""Small media of every usual format, which are damaged afterwards."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image

SECONDS, RATE_HZ = 0.6, 16_000
WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 12, 10

# (suffix, mode, options of Pillow)
PICTURES = (
    ("png", "RGB", {}),
    ("png", "RGBA", {}),
    ("png", "P", {}),
    ("png", "I;16", {}),
    ("png", "1", {}),
    ("jpg", "RGB", {"quality": 80}),
    ("jpg", "L", {"progressive": True}),
    ("jpg", "CMYK", {}),
    ("webp", "RGB", {"lossless": True}),
    ("webp", "RGBA", {}),
    ("gif", "P", {}),
    ("bmp", "RGB", {}),
    ("tiff", "RGB", {"compression": "tiff_lzw"}),
    ("tiff", "I;16", {}),
    ("ppm", "RGB", {}),
    ("tga", "RGB", {}),
    ("ico", "RGBA", {}),
    ("jp2", "RGB", {}),
    ("avif", "RGB", {}),
)
SOUNDS = (
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24"), ("WAV", "MS_ADPCM"),
    ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AU", "ULAW"), ("CAF", "PCM_16"),
)  # fmt: skip
# (container, picture codec, sound codec)
CLIPS = (
    ("mp4", "libx264", "aac"),
    ("mov", "mpeg4", "aac"),
    ("matroska", "libx264", "libopus"),
    ("webm", "libvpx", "libopus"),
    ("avi", "mpeg4", "mp3"),
    ("mpegts", "mpeg2video", "mp2"),
    ("gif", "gif", None),
)


def pictures() -> Iterator[tuple[str, bytes]]:
    """Yields (suffix, content) of pictures."""
    colours = _colours(0)
    for suffix, mode, options in PICTURES:
        if mode == "I;16":
            image = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
        else:
            image = Image.fromarray(colours).convert(mode)
        yield suffix, _saved(image, suffix, options)
    frames = [Image.fromarray(_colours(step)) for step in range(3)]
    for suffix in ("gif", "webp", "png"):
        animation = {"save_all": True, "append_images": frames[1:], "duration": 200}
        yield suffix, _saved(frames[0], suffix, animation)


def sounds() -> Iterator[tuple[str, bytes]]:
    """Yields (suffix, content) of sounds."""
    for container, coding in SOUNDS:
        made = io.BytesIO()
        rate = 48_000 if coding == "OPUS" else RATE_HZ
        soundfile.write(made, _tone(rate), rate, format=container, subtype=coding)
        yield container.lower(), made.getvalue()


def clips() -> Iterator[tuple[str, bytes]]:
    """Yields (suffix, content) of clips, with sound where the container has it."""
    for container, picture, sound in CLIPS:
        yield container, _clip(container, picture, sound)


def strangers() -> Iterator[tuple[str, bytes]]:
    """Yields files that are no medium, or one that would take gigabytes or name other files."""
    yield "png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
    yield "mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    yield "wav", b"ffconcat version 1.0\nfile '/etc/passwd'\n"
    yield "mkv", b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n"
    for suffix, options in (("webp", {"lossless": True}), ("png", {}), ("gif", {}), ("avif", {})):
        yield suffix, _saved(Image.new("L", (3000, 3000)), suffix, dict(options))
    still = Image.new("P", (2000, 2000))
    animation = {"save_all": True, "append_images": [still.copy() for _ in range(9)]}
    yield "gif", _saved(still, "gif", animation)


def _saved(image: Image.Image, suffix: str, options: dict[str, object]) -> bytes:
    made = io.BytesIO()
    known = {"jpg": "JPEG", "jp2": "JPEG2000"}
    image.save(made, known.get(suffix, suffix.upper()), **options)
    return made.getvalue()


def _colours(step: int) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    planes = (rows * 3 + step * 20, columns * 2, rows * columns // 8 + step * 40)
    return np.stack(planes, axis=-1).astype(np.uint8)


def _tone(rate: int) -> npt.NDArray[np.float32]:
    time = np.arange(int(SECONDS * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def _clip(container: str, picture: str, sound: str | None) -> bytes:
    made = io.BytesIO()
    with av.open(made, "w", format=container) as output:
        seen = output.add_stream(picture, rate=FPS)
        seen.width, seen.height = WIDTH, HEIGHT
        seen.pix_fmt = "rgb8" if picture == "gif" else "yuv420p"
        heard = None if sound is None else output.add_stream(sound, rate=48_000, layout="mono")
        for step in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(_colours(step), format="rgb24")
            output.mux(seen.encode(frame.reformat(format=seen.pix_fmt)))
        output.mux(seen.encode(None))
        if heard is not None:
            samples = np.tile(_tone(48_000), 2)[None]
            for start in range(0, samples.shape[1] - 1024, 1024):
                block = np.ascontiguousarray(samples[:, start : start + 1024])
                piece = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                piece.sample_rate, piece.pts = 48_000, start
                output.mux(heard.encode(piece))
            output.mux(heard.encode(None))
    return made.getvalue()
