"""Where media come from: the same content from every kind of source."""

from __future__ import annotations

import base64
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from omnijet.runtime.cancel import Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media import source as sources
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.media.content import opened
from omnijet.runtime.media.image import load_image
from omnijet.runtime.media.kind import kind_of
from omnijet.runtime.media.source import fault_of, is_held, is_source, named, readable
from omnijet.runtime.media.video import load_video
from tests.runtime.media.test_audio import MEDIA, PREPROCESSING

CONTENT = bytes(range(256)) * 20


class Unseekable(io.RawIOBase):
    """A reader as of a socket."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def read(self, size: int = -1) -> bytes:
        piece, self._rest = self._rest[:99], self._rest[99:]
        return piece


@contextmanager
def fed_pipe(path: Path, content: bytes) -> Iterator[Path]:
    """A named pipe into which a thread writes."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    try:
        yield path
    finally:
        writer.join(10)


def held(source: Any) -> bytes:
    found = readable(source, "sound", "here")
    return found if isinstance(found, bytes) else found.read_bytes()


def test_every_kind_of_source_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a b%#?.bin"
    path.write_bytes(CONTENT)
    packed = base64.b64encode(CONTENT).decode()
    moved = io.BytesIO(CONTENT)
    moved.seek(77)
    with open(path, "rb") as file:
        file.seek(5)
        for source in [
            path, str(path), path.as_uri(), f"file://localhost{quote(str(path))}",
            f"FILE:{quote(str(path))}", f"data:audio/wav;base64,{packed}", f"data:;BASE64,{packed}",
            f"data:;base64,{packed.rstrip('=')}",
            f"data:;base64,{quote(packed[:40])}\n{packed[40:]}", "data:," + quote(CONTENT), CONTENT,
            bytearray(CONTENT), memoryview(CONTENT), moved, file, Unseekable(CONTENT),
        ]:  # fmt: skip
            assert is_source(source) and held(source) == CONTENT
            assert not isinstance(source, str | Path) or fault_of(source) is None
        assert file.tell() == 5 and moved.tell() == 77


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    content = CONTENT * 50  # more than a pipe holds
    with fed_pipe(tmp_path / "pipe", content) as path:
        assert fault_of(path) is None and is_held(path)
        assert readable(path, "sound", "here") == content
    reading, writing = os.pipe()
    os.write(writing, CONTENT)
    os.close(writing)  # as a shell's <(...): its writer may be gone before it is opened
    assert readable(f"/dev/fd/{reading}", "sound", "here") == CONTENT
    os.close(reading)


def test_the_wait_for_a_writer_can_be_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        readable(tmp_path / "pipe", "sound", "here", check)


def test_what_comes_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 1000)
    with fed_pipe(tmp_path / "pipe", CONTENT) as path, pytest.raises(OmnijetError, match="1,000"):
        readable(path, "sound", "here")
    with pytest.raises(OmnijetError, match="store it in a file"):
        readable(Unseekable(CONTENT), "sound", "here")
    with pytest.raises(OmnijetError, match="a device, not a file"):
        readable("/dev/zero", "sound", "here")


def test_unusable_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    for source, words in [
        (tmp_path, "a folder: .*\n.*name a file in it"),
        (tmp_path.as_uri(), "a folder"),
        (tmp_path / "gone", "no file .*gone"),
        ("", "an empty name"),
        ("file:", "an empty name"),
        ("a\0b", "no file"),
        ("file:///a%00b", "no file"),
        ("n" * 5000, "no file n+\\.\\.\\. \\(5000 characters\\)"),
        ("https://example.org/a.wav", "download it first"),
        (Path("https://example.org/a.wav"), "download it first"),
        ("S3://bucket/a.wav", "download it first"),
        ("file://server/share/a.wav", "'server'.*\n.*file:///FULL/PATH"),
        ("file://a.wav", "'a.wav'"),
        ("data:audio/wav;base64", "without a comma"),
        ("data:audio/wav;base64,", "without content"),
        ("data:audio/wav;base64,!!!!", "no base64"),
        ("data:audio/wav;base64,AAAAA", "no base64"),
        ("data:audio/wav;base64,é", "no base64"),
        (Path("data:audio/wav;base64,AAAA"), "as a string"),
        (io.StringIO("text"), "got: *str\n.*rb"),
        (closed, "closed file"),
        (b"", "no bytes"),
        (io.BytesIO(), "no bytes"),
    ]:
        with pytest.raises(OmnijetError, match=words) as caught:
            readable(source, "sound", "here")  # type: ignore[arg-type]
        assert "the sound cannot be opened" in str(caught.value) and len(str(caught.value)) < 500
    path = tmp_path / "mine"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # a superuser may read everything
    with pytest.raises(OmnijetError, match="permission denied"):
        readable(path, "sound", "here")


def test_names_in_messages(tmp_path: Path) -> None:
    assert named(b"123") == "3 bytes" and named(memoryview(np.zeros(4, np.int32))) == "16 bytes"
    assert named("data:;base64," + "A" * 999).endswith("(1012 characters)")
    assert named(io.BytesIO()) == "BytesIO" and named(np.zeros(3)) == "ndarray"
    with open(tmp_path / "a.wav", "wb") as file:
        assert named(file) == str(tmp_path / "a.wav")


ODD_NAMES = (
    "pipe:0", "concat:a|b", "http:x", "a:b.wav", "-", "-i.mp4", "%d.png", "a%03d.jpg", "line\nend",
    "\x1b[31mred", os.fsdecode(b"\xff\xfe.mp4"), "x.raw", "x.m3u8", "x.eps", "subfile,,x,,:y",
)  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_nothing_but_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for medium, read in (
        ("question.wav", load_audio),
        ("drawing.png", load_image),
        ("clip.mp4", lambda source: load_video(source, PREPROCESSING, True).audio),
    ):
        Path(name).write_bytes((MEDIA / medium).read_bytes())
        np.testing.assert_array_equal(read(name), read(MEDIA / medium))


def test_what_becomes_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        opened(tmp_path / "pipe")
    assert opened(b"12").read() == b"12"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/full", "/dev/tty"])
def test_devices_are_refused(device: str) -> None:
    for read in (load_audio, load_image, lambda source: load_video(source, PREPROCESSING, True)):
        with pytest.raises(OmnijetError, match=r"a device, not a file|no file"):
            read(device)


def test_no_file_is_without_an_end(tmp_path: Path) -> None:
    with open(tmp_path / "sparse.wav", "wb") as file:
        try:
            file.truncate(1 << 39)
        except OSError:
            pytest.skip("no sparse file of this size here")
    with pytest.raises(OmnijetError, match="at most 256 GiB"):
        load_audio(tmp_path / "sparse.wav")


def test_media_are_the_same_from_memory() -> None:
    sound, picture, clip = (MEDIA / name for name in ("question.wav", "drawing.png", "clip.mp4"))
    np.testing.assert_array_equal(load_audio(sound.read_bytes()), load_audio(sound))
    with open(picture, "rb") as file:
        np.testing.assert_array_equal(load_image(file), load_image(picture))  # type: ignore[arg-type]
    one, other = (load_video(item, PREPROCESSING, True) for item in (clip, clip.read_bytes()))
    np.testing.assert_array_equal(one.frames, other.frames)
    assert one.audio is not None and other.audio is not None
    np.testing.assert_array_equal(one.audio, other.audio)


def test_what_a_medium_is() -> None:
    kinds = {"question.wav": "audio", "drawing.png": "image", "clip.mp4": "video"}
    for name, kind in kinds.items():
        assert kind_of(MEDIA / name) == kind_of((MEDIA / name).read_bytes()) == kind
    assert kind_of(b"text") is None and kind_of(MEDIA / "wild" / "mic.raw") is None


def test_the_wrong_option_is_named() -> None:
    with pytest.raises(OmnijetError, match="--audio"):
        load_video(MEDIA / "question.wav", PREPROCESSING, True)
    with pytest.raises(OmnijetError, match="--video"):
        load_image(MEDIA / "clip.mp4")
    with pytest.raises(OmnijetError, match="--audio"):
        load_image((MEDIA / "question.wav").read_bytes())
    with pytest.raises(OmnijetError, match="--image"):
        load_audio(MEDIA / "drawing.png")
