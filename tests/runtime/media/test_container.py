"""FFmpeg and libsndfile read the file that they are given, in a known format, and no other."""

from __future__ import annotations

import io
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.allowed import CODECS, CONTAINERS, SOUNDS
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.media.container import container_of, most_frame_pixels
from omnijet.runtime.media.content import opened
from omnijet.runtime.media.sound_file import require_known
from omnijet.runtime.media.video import load_video
from tests.runtime.media.test_audio import MEDIA, PREPROCESSING

CLIP, SOUND = MEDIA / "clip.mp4", MEDIA / "question.wav"
LISTS: dict[str, str] = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{name}\n#EXT-X-ENDLIST\n",
    "url.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:{path}\n#EXT-X-ENDLIST\n",
    "http.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/x.ts\n",
    "a.ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "a.mp4": "ffconcat version 1.0\nfile '{path}'\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=audio {port} RTP/AVP 0\n",
    "a.mpd": '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{path}'
    "</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "a.txt": "just a text\n" * 40,
}


def clip(codec: str, form: str, pixels: str = "yuv420p") -> bytes:
    made = io.BytesIO()
    with av.open(made, "w", format=form) as output:
        stream: Any = output.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            output.mux(stream.encode(frame.reformat(format=pixels)))
        output.mux(stream.encode(None))
    return made.getvalue()


READERS: tuple[Callable[[Any], object], ...] = (
    load_audio,
    lambda source: load_video(source, PREPROCESSING, True),
)


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_files_are_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target.ts"
    target.write_bytes(CLIP.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        words = {"name": target.name, "path": target, "port": server.getsockname()[1]}
        (tmp_path / name).write_text(LISTS[name].format(**words))
        for read in READERS:
            with pytest.raises(OmnijetError, match="cannot be read"):
                read(tmp_path / name)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_numbered_pictures_are_one_file(tmp_path: Path) -> None:
    for number in range(3):
        content = (MEDIA / "drawing.png").read_bytes()
        (tmp_path / f"a{number}.png").write_bytes(content)
    (tmp_path / "a%d.png").write_bytes(CLIP.read_bytes())
    frames = load_video(tmp_path / "a%d.png", PREPROCESSING, False).frames
    np.testing.assert_array_equal(frames, load_video(CLIP, PREPROCESSING, False).frames)
    with pytest.raises(OmnijetError, match="no file"):
        load_video(tmp_path / "a%02d.png", PREPROCESSING, False)


def test_a_codec_that_nobody_uses_is_refused() -> None:
    with pytest.raises(OmnijetError, match="its codec is not one that is read: asv1"):
        load_video(clip("asv1", "avi"), PREPROCESSING, False)


@pytest.mark.parametrize("form", ["nut", "yuv4mpegpipe", "swf", "rm"])
def test_other_containers_are_refused(form: str) -> None:
    codec = {"nut": "mpeg4", "swf": "flv", "rm": "rv10"}.get(form, "rawvideo")
    try:
        content = clip(codec, form)
    except (av.FFmpegError, ValueError):
        pytest.skip("this FFmpeg does not write it")
    for read in READERS:
        with pytest.raises(OmnijetError, match="cannot be read"):
            read(content)


def test_the_lists_hold_names_that_ffmpeg_knows() -> None:
    known = {name for names in av.formats_available for name in names.split(",")}
    assert set(CONTAINERS) <= known
    assert len(set(CODECS) - av.codecs_available) < 10  # some builds lack some
    assert set(SOUNDS) <= set(soundfile.available_formats())
    for name in ("hls", "concat", "dash", "image2", "sdp", "rtsp", "lavfi", "data", "tty"):
        assert name not in CONTAINERS


def test_a_frame_is_no_larger_than_its_file_may_hold() -> None:
    content = bytearray(clip("libvpx", "matroska"))
    start = content.index(b"\x9d\x01\x2a")
    content[start + 3 : start + 7] = struct.pack("<HH", 8192, 8192)
    assert most_frame_pixels(bytes(content)) < 8192 * 8192
    with pytest.raises(OmnijetError, match=r"more than [\d,]+ pixels"):
        load_video(bytes(content), PREPROCESSING, False)


def test_names_and_tags_that_are_no_text() -> None:
    made = io.BytesIO()
    with av.open(made, "w", format="matroska") as output:
        output.metadata["title"] = "TITLE"
        stream = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    content = made.getvalue().replace(b"TITLE", b"\xff\xfe\xff\xfe\xff")
    with container_of(content) as container:
        assert container.streams.audio
    assert len(load_audio(content)) == 4096


@pytest.mark.parametrize(
    "start", [b"x" * 40, b"ID3\3\0\0\0\0\0\0" + b"x" * 40, b"RIFF" + b"x" * 40]
)
def test_no_neighbour_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    fork = struct.pack(">IIII", 256, 512, 256, 64) + bytes(600)
    for name in ("._", "._a.sd2"):
        (tmp_path / name).write_bytes(fork)
    (tmp_path / "a.sd2").write_bytes(start)
    with open("a.sd2", "rb") as file, pytest.raises(ValueError, match="none of those"):
        require_known(file)
    with pytest.raises(OmnijetError, match="cannot be read"):
        load_audio("a.sd2")


@pytest.mark.parametrize("form", sorted(soundfile.available_formats()))
def test_formats_of_libsndfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.chdir(tmp_path)  # SD2 writes a file of its own beside, even of a reader in memory
    kinds = soundfile.available_subtypes(form)
    made = io.BytesIO()
    rate = 8000 if form in ("WVE", "VOX") else 16_000
    try:
        soundfile.write(
            made,
            np.zeros(8000, np.float32),
            rate,
            format=form,
            subtype=soundfile.default_subtype(form),
        )
    except (soundfile.LibsndfileError, ValueError, TypeError, AttributeError):
        pytest.skip(f"is not written here: {kinds}")
    if form in SOUNDS:
        assert len(load_audio(made.getvalue())) in range(7000, 17_000)
    with opened(made.getvalue()) as file:
        try:
            require_known(file)
        except ValueError:
            assert form not in SOUNDS
        else:
            assert form in SOUNDS


def test_what_is_open_is_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        load_audio(SOUND)
        load_video(CLIP, PREPROCESSING, True)
    assert len(os.listdir("/proc/self/fd")) <= before + 1
