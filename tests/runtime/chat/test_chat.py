"""Keys, orders, recordings and sound cards drive a conversation."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat import portaudio
from omnijet.runtime.chat.chat import Chat
from omnijet.runtime.chat.dialog import Dialog
from omnijet.runtime.chat.mute import TAIL_S, Mute
from omnijet.runtime.chat.orders import Orders
from omnijet.runtime.chat.pictures import clip_parts
from omnijet.runtime.chat.playback import RATE_HZ, Playback
from omnijet.runtime.chat.script import Script
from omnijet.runtime.chat.settings import Settings
from omnijet.runtime.chat.sound import Sound
from omnijet.runtime.chat.soundcard import Microphone, Speaker
from omnijet.runtime.chat.tape import Tape
from omnijet.runtime.chat.transport import End, Inbox, Interrupt, Line, Lost, News
from omnijet.runtime.chat.view import Phase
from omnijet.runtime.chat.wire import decoded
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.voice.detector import Pauses
from tests.layering import ROOT
from tests.runtime.chat.fakes import Clock, Event, Paper, Server, SoundCard, inbox, ramp

HANDS_FREE = Settings(pauses=Pauses())
PUSH = Settings()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test moves the clock itself."""
    monkeypatch.setattr("omnijet.runtime.chat.chat.WAIT_S", 0.0)


class Echo:
    """A server that answers each question with its number and as many tenths of a second."""

    def __init__(self) -> None:
        self.count = 0
        self.heard: list[Array] = []

    def __call__(self, server: Server, event: Event) -> None:
        if event["type"] == "input_audio_buffer.append":
            self.heard.append(decoded(event["audio"]))
        elif event["type"] == "input_audio_buffer.commit":
            server.says("input_audio_buffer.committed", item_id=f"u{self.count}")
        elif event["type"] == "conversation.item.retrieve":
            error = {"message": "no item", "event_id": event["event_id"]}
            server.says("error", error=error)
        elif event["type"] == "response.create":
            self.answer(server)

    def answer(self, server: Server) -> None:
        self.count += 1
        server.replies(self.count, f"answer {self.count}", ramp(self.count * 2400))


class Room:
    """A chat with all around it, which a test drives step by step."""

    def __init__(
        self,
        settings: Settings = HANDS_FREE,
        on: Callable[[Server, Event], None] | None = None,
        sounds: Callable[[Room], Sequence[Sound]] = lambda room: [],
        half: bool = False,
        waits: bool = False,
    ) -> None:
        self.server, self.paper, self.clock = Server(on or Echo()), Paper(), Clock()
        self.box: Inbox = inbox()
        self.playback = Playback(self.box.put, 0, self.clock)
        self.dialog = Dialog(
            self.server, settings, self.playback, self.paper, self.box.put, self.clock
        )
        self.orders = Orders(self.dialog, self.paper, clip_parts, ["some help"])
        self.chat = Chat(
            self.dialog, self.box, self.paper, sounds(self),
            Mute(self.playback, half, self.clock), self.orders,
            push_to_talk=settings.pauses is None, waits=waits, clock=self.clock,
        )  # fmt: skip
        self.dialog.open()

    def come(self, *news: News) -> None:
        """Has the chat take news, and all that follows of them."""
        for one in news:
            self.box.put(one)
        while not self.box.empty():
            self.chat._turn()


# -- keys ------------------------------------------------------------------------------


def test_a_typed_line_is_asked_and_one_in_a_reply_stops_it() -> None:
    room = Room()
    room.come(Line("Hello"))
    assert room.paper.lines == ["you: Hello", "answer 1"]
    room.playback.pull(1200)
    room.come(Line("  And now? "))
    assert room.paper.lines[2:] == ["you: And now?", "answer 2"]
    (cut,) = room.server.of("conversation.item.truncate")
    assert cut["audio_end_ms"] == 50


def test_piped_lines_wait_for_the_reply_before() -> None:
    room = Room(waits=True)
    room.come(Line("one"), Line("two"), End())
    assert room.paper.lines == ["you: one", "answer 1"] and not room.chat._is_over()
    room.playback.pull(2400)
    room.chat._turn()
    room.come()
    assert room.paper.lines[2:] == ["you: two", "answer 2"] and not room.chat._is_over()
    room.playback.pull(4800)
    assert room.chat._is_over() and not room.server.of("conversation.item.truncate")


def test_enter_begins_and_ends_a_spoken_question() -> None:
    card = SoundCard()
    echo = Echo()
    room = Room(PUSH, echo, with_card(card))
    started(room, card)
    card.speak(ramp(480))
    room.come()
    assert not echo.heard  # nobody has pressed a key
    room.come(Line(""))
    assert room.paper.phases[-1] is Phase.HEARING
    card.speak(ramp(480))
    room.come()
    room.come(Line(""))
    assert np.array_equal(np.concatenate(echo.heard), ramp(480))
    assert room.paper.lines == ["you: (spoken)", "answer 1"]
    card.play(1200)
    room.come(Line(""))  # stops the reply, and begins anew
    (cut,) = room.server.of("conversation.item.truncate")
    assert cut["audio_end_ms"] == 50 and room.paper.phases[-1] is Phase.HEARING
    room.come(Interrupt())
    assert room.server.of("input_audio_buffer.clear") and room.paper.phases[-1] is Phase.READY


def test_ctrl_c_stops_the_reply_first_and_then_the_program() -> None:
    room = Room()
    room.come(Line("Hello"))
    room.come(Interrupt())
    assert room.server.of("conversation.item.truncate") and not room.playback.sounds
    with pytest.raises(KeyboardInterrupt):
        room.come(Interrupt())


def test_a_signal_is_news_and_a_second_one_in_a_row_ends_the_program() -> None:
    room = Room()
    room.come()
    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script may have it ignored
    with room.chat._interrupts:
        signal.raise_signal(signal.SIGINT)
        assert room.box.get(timeout=5) == Interrupt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        room.chat._interrupts.read()
        signal.raise_signal(signal.SIGINT)
        assert room.box.get(timeout=5) == Interrupt()
    assert signal.signal(signal.SIGINT, was) is signal.default_int_handler


def test_a_lost_connection_is_a_fault() -> None:
    room = Room()
    with pytest.raises(OmnijetError, match="the cable was cut"):
        room.come(Lost("the cable was cut"))


# -- orders ----------------------------------------------------------------------------


def test_orders_are_carried_out(tmp_path: Path) -> None:
    room = Room()
    room.come(Line("/help"), Line("/voice Ethan"), Line(f"/image {ROOT}/tests/media/drawing.png"))
    assert room.paper.told[0] == "some help"
    voice = room.server.of("session.update")[-1]["session"]["audio"]["output"]["voice"]
    assert voice == "Ethan"
    room.come(Line("what is it?"))
    (shown,) = room.server.of("conversation.item.create")
    picture, words = shown["item"]["content"]
    assert picture["type"] == "input_image" and words["text"] == "what is it?"
    assert picture["image_url"].startswith("data:image/png;base64,")
    room.playback.pull(1200)
    room.come(Line("and that?"))
    room.playback.pull(4800)
    room.come(Line(f"/save {tmp_path}/talk.json"))
    saved = json.loads((tmp_path / "talk.json").read_text())
    first, second = [row for row in saved["messages"] if row["role"] == "assistant"]
    assert (first["text"], first["heard_s"], first["audio_s"]) == ("answer 1", 0.05, [0, 0.05])
    assert (second["text"], second["audio_s"]) == ("answer 2", [0.05, 0.25])
    sound, rate = soundfile.read(tmp_path / saved["audio"], dtype="float32")
    assert rate == RATE_HZ
    assert np.array_equal(sound, np.concatenate((ramp(4800)[:1200], ramp(4800))))
    room.come(Line("/reset"))
    assert room.server.opened == 2
    room.come(Line("/quit"))
    assert room.chat._is_over()


def test_a_clip_is_shown_as_frames_and_sound() -> None:
    room = Room()
    room.come(Line(f"/video '{ROOT}/tests/media/clip.mp4'"))
    assert not room.server.of("conversation.item.create")
    room.server.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    room.come()
    (shown,) = room.server.of("conversation.item.create")
    kinds = [part["type"] for part in shown["item"]["content"]]
    assert kinds == ["input_image"] * 8 + ["input_audio"]
    assert 3.5 < len(decoded(shown["item"]["content"][-1]["audio"])) / RATE_HZ < 4.5


def test_what_comes_of_a_forgotten_conversation_is_not_heard() -> None:
    room = Room(on=lambda server, event: None)
    room.come(Line("Hello"))
    room.server.replies(1, "late", ramp(4800))
    room.server.lost("the old connection has ended")
    room.dialog.reset()  # before the chat has read that
    room.come()
    assert not room.playback.pull(480).any() and room.paper.lines == ["you: Hello"]
    room.server.lost("the new connection has ended")
    with pytest.raises(OmnijetError, match="the new connection"):
        room.come()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/imag x", "there is no /imag: did you mean /image?"),
        ("/fly", "there is no /fly: /help lists"),
        ("/image", "expected /image P"),
        ("/reset now", "expected /reset alone"),
        ("/image nowhere.png", "nowhere.png"),
        ("/video nowhere.mp4", "nowhere.mp4"),
        ("/save nowhere/talk.json", "nowhere"),
    ],
)
def test_a_wrong_order_is_told_and_ends_nothing(line: str, said: str) -> None:
    room = Room()
    room.come(Line(line))
    assert said in room.paper.told[0]
    assert not room.chat._is_over() and not room.server.of("conversation.item.create")


# -- recordings ------------------------------------------------------------------------


class Listener(Echo):
    """A server that finds speech: loud samples, until as many silent ones as a pause has."""

    def __init__(self) -> None:
        super().__init__()
        self.speaks, self.silent, self.at = False, 0, 0

    def __call__(self, server: Server, event: Event) -> None:
        super().__call__(server, event)
        if event["type"] != "input_audio_buffer.append":
            return
        samples = self.heard[-1]
        for start in range(0, len(samples), 480):
            piece = samples[start : start + 480]
            self.at += len(piece)
            if piece.any():
                if not self.speaks:
                    self.speaks = True
                    where = {"audio_start_ms": 0, "item_id": f"u{self.count}"}
                    server.says("input_audio_buffer.speech_started", **where)
                self.silent = 0
            else:
                self.silent += len(piece)
            if self.speaks and self.silent >= RATE_HZ // 2:
                self.speaks = False
                where = {"item_id": f"u{self.count}"}
                end = (self.at - self.silent) * 1000 // RATE_HZ
                server.says("input_audio_buffer.speech_stopped", audio_end_ms=end, **where)
                server.says("input_audio_buffer.committed", **where)
                self.answer(server)


def scripted(
    settings: Settings, on: Echo, recordings: list[Array], in_real_time: bool, step: float = 0.02
) -> tuple[Room, Script]:
    room = Room(settings, on)
    silence = 1.5 if settings.pauses is not None else 0.0
    tape = Tape(recordings, silence, room.playback, room.box.put, in_real_time, room.clock)
    names = [f"{number}.wav" for number in range(len(recordings))]
    script = Script(tape, names, settings.pauses is None, room.clock)
    room.chat._sounds, room.chat._script = [tape], script
    tape.start()
    for _ in range(4000):
        if script.is_over:
            return room, script
        room.clock.now += step
        room.chat._turn()
    raise AssertionError("the script does not end")


@pytest.mark.parametrize("in_real_time", [True, False])
@pytest.mark.parametrize("settings", [HANDS_FREE, PUSH])
def test_recordings_are_asked_one_after_the_other(settings: Settings, in_real_time: bool) -> None:
    on = Listener() if settings.pauses is not None else Echo()
    asked = [ramp(9600) + np.float32(0.5), ramp(4800) + np.float32(0.5)]
    room, script = scripted(settings, on, asked, in_real_time)
    assert room.paper.lines == ["you: (spoken)", "answer 1", "you: (spoken)", "answer 2"]
    assert not script.unheard and not room.server.of("conversation.item.truncate")
    heard = np.concatenate(on.heard)
    heard = heard[np.flatnonzero(heard)]
    expected = np.concatenate(asked)
    assert np.array_equal(heard, expected[np.flatnonzero(expected)])
    if in_real_time and settings.pauses is not None:  # half a second of pause, and a step
        assert all(0.5 <= ms / 1000 <= 0.6 for ms in room.paper.latencies)


def test_a_recording_without_speech_is_named() -> None:
    silence = np.zeros(4800, np.float32)
    words = ramp(4800) + np.float32(0.5)
    room, script = scripted(HANDS_FREE, Listener(), [silence, words], False)
    assert script.unheard == ["0.wav"] and room.paper.lines[-1] == "answer 1"


def test_speech_within_a_reply_cuts_it_in_real_time() -> None:
    class Slow(Listener):
        def answer(self, server: Server) -> None:
            self.count += 1
            server.replies(self.count, f"answer {self.count}", ramp(2 * RATE_HZ))

    words, pause = ramp(4800) + np.float32(0.5), np.zeros(RATE_HZ, np.float32)
    room, _ = scripted(HANDS_FREE, Slow(), [np.concatenate((words, pause, words))], True)
    (cut,) = room.server.of("conversation.item.truncate")
    assert cut["item_id"] == "item_1" and 400 <= cut["audio_end_ms"] <= 600
    first, second = [turn for turn in room.dialog.record.turns if turn.role == "assistant"]
    assert first.sound.size == first.played and second.sound.size == 2 * RATE_HZ


class Deaf(Echo):
    """A server that never says anything."""

    def __call__(self, server: Server, event: Event) -> None:
        pass


def test_a_silent_server_is_told_of_in_the_end() -> None:
    with pytest.raises(OmnijetError, match="nothing for too long"):
        scripted(PUSH, Deaf(), [ramp(480)], False, step=1.0)


# -- a sound card ----------------------------------------------------------------------


def with_card(card: SoundCard) -> Callable[[Room], Sequence[Sound]]:
    return lambda room: [
        Speaker(None, room.playback, room.box.put), Microphone(None, room.box.put, room.clock)
    ]  # fmt: skip


def started(room: Room, card: SoundCard) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sounddevice", card)
        for sound in room.chat._sounds:
            sound.start()


def test_speaking_interrupts_what_the_card_plays_and_counts_it() -> None:
    card = SoundCard(latency=0.01)
    room = Room(HANDS_FREE, Listener(), with_card(card))
    started(room, card)
    room.come(Line("Hello"))
    assert np.array_equal(card.play(1440), ramp(2400)[:1440])
    card.speak(ramp(480) + np.float32(0.5))
    room.come()
    (cut,) = room.server.of("conversation.item.truncate")
    assert cut["audio_end_ms"] == 50  # of 60, 10 are still in the card
    assert not card.play(480).any()


def test_half_duplex_closes_the_microphone_while_a_reply_sounds() -> None:
    card = SoundCard()
    echo = Listener()
    room = Room(HANDS_FREE, echo, with_card(card), half=True)
    started(room, card)
    loud = ramp(480) + np.float32(0.5)
    room.come(Line("Hello"))
    card.play(2399)
    for _ in range(3):
        card.speak(loud)
        room.come()
        assert not echo.heard[-1].any() and len(echo.heard[-1]) == 480
    card.play(1)
    room.clock.now += TAIL_S / 2
    card.speak(loud)
    room.come()
    assert not echo.heard[-1].any()  # the room still sounds
    room.clock.now += TAIL_S
    card.speak(loud)
    room.come()
    assert np.array_equal(echo.heard[-1], loud)
    assert not room.server.of("conversation.item.truncate")


def pitch(sound: Array, rate_hz: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(sound)))) * rate_hz / len(sound)


def test_a_card_of_another_rate_hears_and_plays_at_its_own() -> None:
    card = SoundCard(rates=(48_000,))
    echo = Echo()
    room = Room(HANDS_FREE, echo, with_card(card))
    started(room, card)
    time = np.arange(48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    for start in range(0, 48_000, 960):
        card.speak(tone[start : start + 960])
        room.come()
    heard = np.concatenate(echo.heard)
    assert 23_000 < len(heard) <= 24_000
    assert abs(pitch(heard, RATE_HZ) - 1000) < 4
    room.playback.add("a", tone[::2].copy())
    room.playback.finish("a")
    played = np.concatenate([card.play(960) for _ in range(40)])
    assert (
        abs(np.argmax(np.abs(np.fft.rfft(played[9600:]))) * 48_000 / len(played[9600:]) - 1000) < 4
    )


def test_a_device_that_goes_away_is_told() -> None:
    card = SoundCard()
    room = Room(HANDS_FREE, None, with_card(card))
    started(room, card)
    card.stream("input").options["finished_callback"]()
    with pytest.raises(OmnijetError, match="the microphone is gone"):
        room.come()
    for sound in room.chat._sounds:
        sound.close()
    assert {stream.state for stream in card.opened} == {"closed"} and room.box.empty()


def test_devices_are_listed_and_a_missing_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: Any = sys.modules
    monkeypatch.setitem(modules, "sounddevice", SoundCard(devices=2))
    first, second = portaudio.device_lines()
    assert first.startswith("  0  card \\x1b[2J 0: microphone and speaker, 24000 Hz")
    assert first.endswith("(default microphone, default speaker)") and "default" not in second
    with pytest.raises(OmnijetError, match="there is no such microphone"):
        Microphone(7, lambda news: None).start()
    monkeypatch.setitem(modules, "sounddevice", SoundCard(devices=0))
    for start in (Microphone(None, print).start, portaudio.device_lines):
        with pytest.raises(OmnijetError, match=r"--input a\.wav --output b\.wav"):
            start()
