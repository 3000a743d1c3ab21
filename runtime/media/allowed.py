"""The formats that are read: those that hold pixels and samples themselves, and are in common use.

Libraries know many more. Some start a program (PostScript), some name other files or addresses
(playlists), and many are read by code that nobody has looked after for years.
"""

from __future__ import annotations

import re
from pathlib import Path

from omnijet.runtime.media.content import head_of

PICTURES = (
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF",
)  # fmt: skip
PICTURES_TEXT = "a PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, TGA, ICO, JPEG 2000 or AVIF picture"
# icons are decoded when they are opened, and TGA has nothing by which it is known
SURE_PICTURES = tuple(name for name in PICTURES if name not in ("ICO", "TGA"))
ANIMATIONS = ("GIF", "PNG", "WEBP", "AVIF")

SOUNDS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "NIST")
"""Of libsndfile. FFmpeg reads the others."""
SOUNDS_TEXT = "WAV, FLAC, MP3, Ogg, Opus, AAC, M4A, AIFF, AU, CAF, or a clip with sound"

CONTAINERS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "h264",
    "hevc", "m4v", "ivf", "obu", "dv", "3gp", "wav", "w64", "aiff", "au", "caf", "flac", "mp3",
    "aac", "loas", "ac3", "eac3", "amr", "wv", "tta", "ape", "tak", "nistsphere", "voc", "dts",
)  # fmt: skip
"""Of FFmpeg. None names another file, but for references in MOV, which are not followed."""
CONTAINERS_TEXT = "MP4, MOV, MKV, WebM, AVI, MPEG, MPEG-TS, FLV, WMV, Ogg, GIF, APNG, WebP or AVIF"

CODECS = (
    # pictures
    "h264", "hevc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "libaom-av1",
    "mpeg4", "mpeg2video", "mpeg1video", "h263", "flv", "msmpeg4", "msmpeg4v1", "msmpeg4v2",
    "wmv1", "wmv2", "wmv3", "vc1", "theora", "mjpeg", "prores", "dnxhd", "dvvideo", "ffv1",
    "huffyuv", "ffvhuff", "utvideo", "rawvideo", "v210", "qtrle", "png", "cinepak", "svq3",
    # sounds
    "aac", "aac_fixed", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "mp1", "mp1float",
    "ac3", "ac3_fixed", "eac3", "dca", "opus", "libopus", "vorbis", "libvorbis", "flac", "alac",
    "wmav1", "wmav2", "wmapro", "wmalossless", "amrnb", "amrwb", "libopencore_amrnb",
    "libopencore_amrwb", "speex", "libspeex", "gsm", "gsm_ms", "wavpack", "tta", "ape", "tak",
    "truehd", "mlp", "nellymoser", "g722", "g726", "g726le",
    "pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_u16le",
    "pcm_u16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be",
    "pcm_f64le", "pcm_f64be", "pcm_bluray", "pcm_dvd", "pcm_s64le", "pcm_s64be",
    "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "adpcm_yamaha",
)  # fmt: skip
"""Decoders of FFmpeg: a container that is read may name any other of its five hundred."""

_HEAD_BYTES = 512
_FOREIGN: tuple[tuple[str, str], ...] = (
    (r"(?:\x04?%!PS|\xc5\xd0\xd3\xc6)", "PostScript (EPS), which a program would have to run"),
    (r"%PDF", "a PDF document"),
    (r"\xd7\xcd\xc6\x9a|\x01\x00\x09\x00\x00\x03", "a Windows metafile (WMF)"),
    (r"\x01\x00\x00\x00.{36} EMF", "a Windows metafile (EMF)"),
    (r"8BPS", "a Photoshop document"),
    (r".{4}ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)", "HEIC, as telephones store pictures"),
    (r"\xff\x0a|\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (r"\s*#EXTM3U", "a playlist (M3U8), which names other files and addresses"),
    (r"\s*(?:ffconcat|\[playlist\])", "a list of other files"),
    (r"\s*(?:<\?xml.{0,200})?<MPD", "a playlist (DASH), which names other files and addresses"),
    (r"v=0\r?\no=", "a description of a stream (SDP), which names addresses"),
    (r"\s*(?:<\?xml.{0,200})?(?:<!--.{0,200}-->\s*)?(?:<!DOCTYPE svg.{0,200})?<svg", "SVG"),
    (r"\s*<(?:!doctype html|html)", "a web page"),
    (r"version https://git-lfs", "a pointer of Git LFS: git lfs pull fetches the file itself"),
    (r"PK\x03\x04", "a zip archive"),
    (r"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf", "a packed file"),
    (r"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document, or another of OLE"),
    (r"MThd", "MIDI: notes, no sound"),
    (r"SIMPLE  =", "FITS"),
    (r"[FCZ]WS[\x01-\x30]", "Flash"),
)
_PATTERNS = tuple(
    (re.compile(pattern.encode("latin-1"), re.DOTALL | re.IGNORECASE), name)
    for pattern, name in _FOREIGN
)


def foreign(source: Path | bytes) -> str | None:
    """Returns what a file is, if it is of a known kind that is not read."""
    head = source[:_HEAD_BYTES] if isinstance(source, bytes) else head_of(source, _HEAD_BYTES)
    return next((name for pattern, name in _PATTERNS if pattern.match(head)), None)
