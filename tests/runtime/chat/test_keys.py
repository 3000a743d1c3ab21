"""Keys become lines, lines orders; addresses and keys of servers are read as users write them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from omnijet.runtime.chat.address import api_key, is_exposed, websocket_address
from omnijet.runtime.chat.capture import Capture
from omnijet.runtime.chat.editor import Editor, Lines
from omnijet.runtime.chat.pictures import MOST_PNG_BYTES, MOST_SIDE, picture_parts
from omnijet.runtime.chat.record import Record, Turn
from omnijet.runtime.chat.screen import Screen
from omnijet.runtime.chat.slash import ORDERS, Order, Refused, help_lines, read_order
from omnijet.runtime.chat.transport import End, Interrupt, Line, Typing
from omnijet.runtime.chat.view import Phase
from omnijet.runtime.errors import OmnijetError
from tests.runtime.chat.fakes import ramp


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (b"hello\\r", "hello"),
        (b"hellp\x7fo\r", "hello"),
        (b"\x7f\x08hi\n", "hi"),
        ("schön\r".encode(), "schön"),
        (b"wrong\x15right\r", "right"),
        (b"one two three\x17\x17four\r", "one four"),
        (b"a\x1b[Db\x1b[1;5Cc\x1bOA\r", "abc"),
        (b"\x00a\x07b\r", "ab"),
    ],
)
def test_keys_make_a_line(keys: bytes, line: str) -> None:
    keys = keys.replace(rb"\r", b"\r")
    whole = Editor().take(keys)
    assert whole == [Line(line), Typing("")]
    editor = Editor()
    if b"\x1b" not in keys:  # letters of several bytes may come one byte at a time
        came = [news for key in keys for news in editor.take(bytes([key]))]
        assert [news for news in came if isinstance(news, Line)] == [Line(line)]


def test_ctrl_c_and_ctrl_d_are_news() -> None:
    editor = Editor()
    assert editor.take(b"abc") == [Typing("abc")]
    assert editor.take(b"\x04") == [Typing("abc")]  # there is something in the line
    assert editor.take(b"\x03") == [Interrupt(), Typing("")]
    assert editor.take(b"\x04") == [End(), Typing("")]


def test_a_pipe_makes_lines_however_it_is_cut() -> None:
    lines = Lines()
    assert lines.take(b"one\r\ntw") == [Line("one")]
    assert lines.take("o\nö".encode()[:-1]) == [Line("two")]
    assert lines.take("ö".encode()[-1:] + b" end") == []
    assert lines.take(b"") == [Line("ö end"), End()]


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("hello", None),
        ("a /b", None),
        ("/quit", Order("quit", "")),
        ("  /image  a b.png ", Order("image", "a b.png")),
        ("/image 'a b.png'", Order("image", "a b.png")),
        ('/save "x.json"', Order("save", "x.json")),
    ],
)
def test_orders_are_read(line: str, order: Order | None) -> None:
    assert read_order(line) == order


@pytest.mark.parametrize("line", ["/", "/nothing", "/image", "/quit now", "/IMAGE x"])
def test_what_is_no_order_is_refused(line: str) -> None:
    assert isinstance(read_order(line), Refused)


def test_help_names_every_order() -> None:
    text = "\n".join(help_lines(hands_free=True, microphone=True))
    assert all(f"/{name}" in text for name in ORDERS)
    assert "begin to speak" not in text
    assert "begin to speak" in "\n".join(help_lines(hands_free=False, microphone=True))


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("http://localhost:8000", "ws://localhost:8000/v1/realtime"),
        ("https://a.example/", "wss://a.example/v1/realtime"),
        ("https://a.example/v1", "wss://a.example/v1/realtime"),
        ("ws://[::1]:9/v1/realtime", "ws://[::1]:9/v1/realtime"),
        ("https://a.example/talk", "wss://a.example/talk/v1/realtime"),
    ],
)
def test_addresses(server: str, address: str) -> None:
    assert websocket_address(server) == address
    assert websocket_address(server, "a b&c") == f"{address}?model=a+b%26c"


@pytest.mark.parametrize(
    "server", ["", "localhost", "ftp://a", "http://", "http://a:b", "file:///a"]
)
def test_addresses_that_are_none(server: str) -> None:
    with pytest.raises(OmnijetError, match="--server"):
        websocket_address(server)


def test_who_can_read_along() -> None:
    assert is_exposed("ws://a.example/") and is_exposed("ws://192.168.0.1:80/")
    assert not is_exposed("wss://a.example/") and not is_exposed("ws://localhost:1/")
    assert not is_exposed("ws://127.0.0.2/") and not is_exposed("ws://[::1]/")


def test_keys_of_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    monkeypatch.delenv("OMNIJET_API_KEY", raising=False)
    assert api_key(None) is None
    monkeypatch.setenv("OMNIJET_API_KEY", " secret ")
    assert api_key(None) == "secret"
    file.write_text("other\n")
    assert api_key(file) == "other"
    for content in (b"", b"\n", b"a\nb", b"a b", b"\xff", "ä".encode(), b"x" * 5000):
        file.write_bytes(content)
        with pytest.raises(OmnijetError, match="no usable API key") as fault:
            api_key(file)
        assert "a\nb" not in str(fault.value)


def test_a_moment_of_what_was_sent_is_found() -> None:
    capture = Capture()
    assert capture.time_of(10) is None
    for step in range(1, 101):
        capture.note(480, 50 + step * 0.02)
    assert capture.time_of(1000) == pytest.approx(51.0)
    assert capture.time_of(990) == pytest.approx(50.99)
    assert capture.time_of(9000) == pytest.approx(52.0)  # later than all: the last that is known


def test_old_sound_is_let_go_of(tmp_path: Path) -> None:
    record = Record(1000)
    for number in range(5):
        turn = record.add(Turn("assistant", f"{number}", item=f"i{number}"))
        record.hear(turn, ramp(400))
    assert [turn.sound.size for turn in record.turns] == [0, 0, 0, 400, 400]
    assert [path.name for path in record.save(tmp_path / "a.json")] == ["a.json", "a.wav"]


def test_a_large_picture_travels_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1200, 2400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    (part,) = picture_parts(tmp_path / "large.png")
    head, _, data = part["image_url"].partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == "data:image/jpeg;base64" and image.size == (MOST_SIDE, MOST_SIDE // 2)
    assert len(data) < 4 * MOST_PNG_BYTES


def test_a_screen_shows_and_is_steered_by_nobody() -> None:
    console = Console(force_terminal=True, width=60, record=True, file=io.StringIO())
    screen = Screen(console)
    screen.phase(Phase.THINKING)
    screen.question("\x1b[2Jwho? [bold]")
    screen.answer("I am ")
    screen.answer("\x1b]0;owned\x07")
    screen.latency(412.3)
    screen.typing("\x9bnext")
    screen.answered("stopped")
    screen.tell("\u202eline")
    screen.close()
    screen.close()
    shown = console.export_text(styles=False)
    assert "you: \\x1b[2Jwho? [bold]" in shown and "\\u202eline" in shown
    assert "reply: I am \\x1b]0;owned\\x07 [stopped]" in shown
    assert "thinking" in shown and "answered after 412 ms" in shown and "> \\x9bnext" in shown
    assert "\x1b[2J" not in shown and "\x9b" not in shown and "\x07" not in shown
