"""Sound flows without gaps, begins when enough has come, and is counted as it leaves the device."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.playback import Cut, Playback
from omnijet.runtime.chat.transport import Inbox, Sounding
from tests.runtime.chat.fakes import Clock, drained, inbox, ramp


def made(jitter: int = 0, delay: int = 0) -> tuple[Playback, Inbox, Clock]:
    box, clock = inbox(), Clock()
    playback = Playback(box.put, jitter, clock)
    playback.delay = delay
    return playback, box, clock


@pytest.mark.parametrize("block", [1, 7, 480, 5000])
def test_what_comes_in_pieces_flows_as_one(block: int) -> None:
    playback, _, _ = made()
    sound = ramp(3000)
    for start in range(0, 3000, 700):
        playback.add("a", sound[start : start + 700])
    playback.finish("a")
    heard = np.concatenate([playback.pull(block) for _ in range(-(-3000 // block))])
    assert np.array_equal(heard[:3000], sound) and not heard[3000:].any()
    assert not playback.sounds and not playback.gaps


def test_it_begins_when_the_jitter_buffer_is_full_and_fills_it_again_after_a_gap() -> None:
    playback, _, _ = made(jitter=100)
    sound = ramp(400)
    playback.add("a", sound[:99])
    assert not playback.pull(50).any()
    playback.add("a", sound[99:120])
    assert np.array_equal(playback.pull(100), sound[:100])
    assert np.array_equal(playback.pull(30), np.pad(sound[100:120], (0, 10)))
    assert playback.gaps == 1
    playback.add("a", sound[120:200])
    assert not playback.pull(30).any()
    playback.add("a", sound[200:400])
    assert np.array_equal(playback.pull(280), sound[120:400])
    assert playback.gaps == 1


def test_a_reply_shorter_than_the_jitter_buffer_sounds_when_it_is_whole() -> None:
    playback, _, _ = made(jitter=1000)
    playback.add("a", ramp(10))
    assert not playback.pull(10).any()
    playback.finish("a")
    assert np.array_equal(playback.pull(10), ramp(10))


def test_a_stopped_reply_tells_what_left_the_device() -> None:
    playback, _, _ = made(delay=30)
    playback.add("a", ramp(1000))
    playback.pull(20)
    assert playback.stop() == [Cut("a", 0)]
    playback.add("b", ramp(1000))
    playback.pull(150)
    assert playback.stop() == [Cut("b", 120)]
    assert not playback.pull(50).any() and playback.stop() == []


def test_a_gap_is_not_counted_as_heard() -> None:
    playback, _, _ = made(delay=10)
    playback.add("a", ramp(100))
    playback.pull(150)  # 50 of silence
    playback.add("a", ramp(100))
    playback.pull(60)
    assert playback.stop() == [Cut("a", 150)]


def test_a_reply_whose_end_is_still_in_the_device_sounds() -> None:
    playback, _, _ = made(delay=40)
    playback.add("a", ramp(100))
    playback.finish("a")
    playback.pull(120)
    assert playback.sounds
    assert playback.stop() == [Cut("a", 80)]
    playback.add("b", ramp(100))
    playback.finish("b")
    playback.pull(140)
    assert not playback.sounds and playback.stop() == []


def test_replies_sound_one_after_the_other_and_say_when() -> None:
    playback, box, clock = made(delay=2400)
    playback.add("a", ramp(100))
    playback.finish("a")
    playback.add("b", ramp(50))
    playback.finish("b")
    assert drained(box) == []
    heard: Array = playback.pull(150)
    assert np.array_equal(heard, np.concatenate((ramp(100), ramp(50))))
    assert drained(box) == [Sounding("a", clock.now + 0.1), Sounding("b", clock.now + 0.1)]
    playback.pull(10)
    assert drained(box) == []


def test_only_what_can_sound_is_buffered() -> None:
    playback, _, _ = made(jitter=100)
    playback.add("a", ramp(60))
    assert playback.buffered == 0
    playback.add("a", ramp(60))
    assert playback.buffered == 120
