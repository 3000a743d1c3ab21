"""The loop of a chat: one queue of news, and what follows of each."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from omnijet.runtime.chat.dialog import Dialog
from omnijet.runtime.chat.interrupts import Interrupts
from omnijet.runtime.chat.mute import Mute
from omnijet.runtime.chat.orders import Orders
from omnijet.runtime.chat.script import Script
from omnijet.runtime.chat.slash import Refused, read_order
from omnijet.runtime.chat.sound import WAIT_S, Sound
from omnijet.runtime.chat.transport import (
    End,
    Heard,
    Inbox,
    Interrupt,
    Line,
    Lost,
    News,
    Said,
    Sounding,
    Typing,
)
from omnijet.runtime.chat.view import Phase, View
from omnijet.runtime.errors import OmnijetError


class Chat:
    """A conversation with a person at a terminal, or with recordings. One thread runs it.

    Args:
        dialog: the conversation.
        inbox: where all news come.
        view: what is shown.
        sounds: what hears and plays.
        mute: when the microphone is closed.
        orders: what slashes do.
        script: recordings that are asked one after another; None: somebody types or speaks.
        push_to_talk: whether Enter begins and ends a spoken question.
        waits: whether a typed question waits for the reply before, as those of a pipe must.
        clock: in seconds.
    """

    def __init__(
        self,
        dialog: Dialog,
        inbox: Inbox,
        view: View,
        sounds: Sequence[Sound],
        mute: Mute,
        orders: Orders,
        script: Script | None = None,
        push_to_talk: bool = False,
        waits: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dialog, self._inbox, self._view = dialog, inbox, view
        self._sounds, self._mute, self._orders = sounds, mute, orders
        self._script, self._push_to_talk, self._waits = script, push_to_talk, waits
        self._clock = clock
        self._lines: deque[str] = deque()
        self._is_recording = False
        self._has_ended = False
        self._interrupts = Interrupts(inbox.put)

    def run(self) -> None:
        """Talks until it ends.

        Raises:
            OmnijetError: whoever answers, or a device, is gone.
            KeyboardInterrupt: Ctrl-C while nothing was said.
        """
        with self._interrupts:
            self._dialog.open()
            for sound in self._sounds:
                sound.start()
            while not self._is_over():
                self._turn()

    def _turn(self) -> None:
        wait = min([WAIT_S, *(sound.wait_s() for sound in self._sounds)])
        try:
            news: News | None = self._inbox.get(timeout=max(wait, 0.001))
        except queue.Empty:
            news = None
        while news is not None:
            self._take(news)
            news = None if self._inbox.empty() else self._inbox.get()
        if self._script is not None and self._inbox.empty():  # what was heard is sent
            self._script.step(self._dialog)
        for sound in self._sounds:
            sound.step()
        while self._lines and not (self._waits and self._dialog.is_busy):
            self._type(self._lines.popleft())
        self._view.phase(Phase.HEARING if self._is_recording else self._dialog.phase)

    def _is_over(self) -> bool:
        if self._orders.has_quit:
            return True
        if self._script is not None:
            return self._script.is_over
        is_idle = not self._lines and not (self._waits and self._dialog.is_busy)
        return self._has_ended and is_idle

    def _take(self, news: News) -> None:
        if isinstance(news, Said | Lost) and news.source not in (0, self._dialog.source):
            return  # of a conversation that was forgotten
        if isinstance(news, Said):
            self._dialog.take(news.event)
        elif isinstance(news, Heard):
            self._hear(news)
        elif isinstance(news, Sounding):
            self._dialog.sounding(news.item, news.at)
        elif isinstance(news, Line):
            self._lines.append(news.text)
        elif isinstance(news, Typing):
            self._view.typing(news.text)
        elif isinstance(news, Interrupt):
            self._interrupts.read()
            self._interrupt()
        elif isinstance(news, End):
            self._has_ended = True
        elif isinstance(news, Lost):
            raise OmnijetError("the conversation cannot go on", got=news.why)

    def _hear(self, news: Heard) -> None:
        if self._push_to_talk and not self._is_recording and self._script is None:
            return
        samples = news.samples
        if self._mute.covers(news.at):
            samples = np.zeros_like(samples)
        self._dialog.hear(samples, news.at)

    def _type(self, line: str) -> None:
        order = read_order(line)
        if isinstance(order, Refused):
            self._view.tell(order.why)
        elif order is not None:
            self._is_recording = False
            self._orders.carry_out(order)
        elif line.strip():
            self._is_recording = False
            self._view.question(line.strip())
            self._dialog.say(line.strip())
        elif self._is_recording:
            self._is_recording = False
            self._dialog.end_speech(self._clock())
        elif self._push_to_talk:
            self._is_recording = True
            self._dialog.begin_speech()
        else:
            self._dialog.stop()

    def _interrupt(self) -> None:
        """Stops the recording or the reply; if there is neither, the program."""
        if self._is_recording:
            self._is_recording = False
            self._dialog.forget_speech()
        elif not self._dialog.stop():
            raise KeyboardInterrupt
