"""Sounds, pictures and clips that are damaged, or that say they are enormous."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np
import soundfile

from tools.fuzz.mutate import damaged
from tools.fuzz.samples import clips, pictures, sounds, strangers
from tools.serving import chat
from tools.serving.attempt import Attempt, Maker, Wrong, told
from tools.serving.raw import post, wire
from tools.serving.service import MODEL, Service

BOMB_PIXELS = 20_000  # a side
BOMB_SECONDS = 1200
FILES = {"sound": sounds, "picture": pictures, "clip": clips, "stranger": strangers}


def bombs() -> Maker:
    """Returns a maker of small files that say, or unpack to, very much."""
    return lambda rng, number: rng.choice(_BOMBS)(rng)


def truncated() -> Maker:
    """Returns a maker of WAV files that end in their header."""

    def make(rng: Random, number: int) -> Attempt:
        content = _wav()[: rng.randrange(44)]
        return _refused(f"WAV of {len(content)} bytes", _audio(content))

    return make


def damage() -> Maker:
    """Returns a maker of damaged files of all kinds, which may still be readable."""

    def make(rng: Random, number: int) -> Attempt:
        kind = rng.choice(list(FILES))
        suffix, content = rng.choice(_files(kind))
        made = damaged(content, rng)
        as_sound = kind == "sound" and suffix in ("wav", "mp3", "flac")
        part = _audio(made, suffix) if as_sound else _shown(made, rng.choice(("image", "video")))

        async def run(server: Service) -> str:
            async with wire(server.address) as client:
                await client.send(_request(part))
                answer = await client.answer()
                return "answered" if answer.status == 200 else told(answer)

        return Attempt(f"damaged {kind} .{suffix}", run)

    return make


@cache
def _files(kind: str) -> list[tuple[str, bytes]]:
    return list(FILES[kind]())


def _lying_wav(rng: Random) -> Attempt:
    """A header that no sound can have."""
    rate, channels, bits = rng.choice(
        ((0, 1, 16), (2**32 - 1, 1, 16), (16_000, 0, 16), (16_000, 65_535, 16), (16_000, 1, 0))
    )
    head = struct.pack("<HHIIHH", 1, channels, rate, 0, 0, bits)
    size = rng.choice((0, 64, 2**31, 2**32 - 1))
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", size)
    content = b"RIFF" + struct.pack("<I", 2**32 - 1) + chunks + bytes(64)
    return _refused(f"WAV of {rate} Hz, {channels} channels, {bits} bits", _audio(content))


def _empty_wav(rng: Random) -> Attempt:
    content = b"RIFF" + struct.pack("<I", 2**32 - 1) + _wav()[8:40] + struct.pack("<I", 2**32 - 1)
    return _refused("WAV of 4 GB without a sample", _audio(content))


def _long_flac(rng: Random) -> Attempt:
    content = _silence()
    return _refused(f"FLAC of {BOMB_SECONDS} s in {len(content)} bytes", _audio(content, "flac"))


def _lying_png(rng: Random) -> Attempt:
    width, height = rng.choice(((60_000, 60_000), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (0, 0)))
    return _refused(f"PNG of {width} x {height}", _shown(_png(width, height, bytes(64)), "image"))


def _large_png(rng: Random) -> Attempt:
    content = _zeros_png()
    name = f"PNG of {BOMB_PIXELS}² pixels in {len(content)} bytes"
    return _refused(name, _shown(content, "image"))


def _lying_mp4(rng: Random) -> Attempt:
    """Boxes with sizes beyond all."""
    size = rng.choice((0, 1, 7, 2**31, 2**32 - 1))
    content = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", size, b"moov")
    content += struct.pack(">Q", 2**63) + rng.randbytes(64)
    return _refused(f"MP4 with a box of {size} bytes", _shown(content, "video"))


def _gzip(rng: Random) -> Attempt:
    """A body that unpacks to much more."""
    content = _packed()[: rng.choice((None, 4000))]

    async def run(server: Service) -> str:
        async with wire(server.address) as client:
            await client.send(post(chat.PATH, content, "Content-Encoding: gzip"))
            return told(await client.answer())

    return Attempt("64 MB of JSON as gzip", run)


_BOMBS: tuple[Callable[[Random], Attempt], ...] = (
    _lying_wav, _lying_wav, _empty_wav, _long_flac, _lying_png, _lying_png, _large_png,
    _lying_mp4, _lying_mp4, _gzip,
)  # fmt: skip


def _refused(name: str, part: dict[str, Any]) -> Attempt:
    """Makes the attempt whose medium must be refused."""

    async def run(server: Service) -> str:
        async with wire(server.address) as client:
            await client.send(_request(part))
            answer = await client.answer()
            if answer.status == 200:
                raise Wrong("it was answered")
            return told(answer)

    return Attempt(name, run)


def _request(part: dict[str, Any]) -> bytes:
    message = {"role": "user", "content": [part]}
    body = {"model": MODEL, "messages": [message], "modalities": ["text"],
            "max_completion_tokens": 1}  # fmt: skip
    return post(chat.PATH, json.dumps(body).encode())


def _audio(content: bytes, form: str = "wav") -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def _shown(content: bytes, kind: str) -> dict[str, Any]:
    form = {"image": "image/png", "video": "video/mp4"}[kind]
    url = f"data:{form};base64,{base64.b64encode(content).decode()}"
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


@cache
def _packed() -> bytes:
    return gzip.compress(b'{"x": "' + b"a" * (64 << 20) + b'"}', 1)


@cache
def _wav() -> bytes:
    made = io.BytesIO()
    soundfile.write(made, np.zeros(1600, np.int16), 16_000, format="WAV", subtype="PCM_16")
    return made.getvalue()


@cache
def _silence() -> bytes:
    made = io.BytesIO()
    zeros = np.zeros(8000 * BOMB_SECONDS, np.int16)
    soundfile.write(made, zeros, 8000, format="FLAC", subtype="PCM_16")
    return made.getvalue()


@cache
def _zeros_png() -> bytes:
    packer, row = zlib.compressobj(9), bytes(1 + BOMB_PIXELS // 8)
    packed = b"".join(packer.compress(row) for _ in range(BOMB_PIXELS)) + packer.flush()
    return _png(BOMB_PIXELS, BOMB_PIXELS, packed)


def _png(width: int, height: int, packed: bytes) -> bytes:
    """Returns a picture of one bit a pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        summed = kind + content
        return struct.pack(">I", len(content)) + summed + struct.pack(">I", zlib.crc32(summed))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
