"""The parts of one chat, as its options want them."""

from __future__ import annotations

import math
import queue
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.answering import Answering
from omnijet.runtime.chat.chat import Chat
from omnijet.runtime.chat.dialog import Dialog
from omnijet.runtime.chat.keyboard import Keyboard
from omnijet.runtime.chat.mute import Mute
from omnijet.runtime.chat.orders import Orders
from omnijet.runtime.chat.plain import PlainView
from omnijet.runtime.chat.playback import RATE_HZ, Playback
from omnijet.runtime.chat.record import MOST_SAMPLES, Record
from omnijet.runtime.chat.screen import Screen
from omnijet.runtime.chat.script import Script
from omnijet.runtime.chat.settings import Settings
from omnijet.runtime.chat.slash import help_lines
from omnijet.runtime.chat.sound import Sound
from omnijet.runtime.chat.soundcard import Microphone, Speaker
from omnijet.runtime.chat.tape import Tape
from omnijet.runtime.chat.transport import Inbox
from omnijet.runtime.chat.view import View
from omnijet.runtime.commands.console import say
from omnijet.runtime.media.wav import write_wav
from omnijet.runtime.voice.detector import Pauses

JITTER_S = 0.06
SETTLE_S = 1.0  # of silence after the pause that ends a recorded question


class Parts:
    """What one chat is made of; use it in a `with` block.

    Args:
        args: the options.
        answering: who answers.
        recordings: f32[n] at 24 kHz each, of `--input`.
    """

    def __init__(self, args: Namespace, answering: Answering, recordings: Sequence[Array]) -> None:
        self._args = args
        self._hears = bool(recordings) or not args.no_microphone
        self._hands_free = self._hears and not args.push_to_talk
        with ExitStack() as opened:
            self.chat = self._made(answering, recordings, opened)
            self._open = opened.pop_all()

    def _made(self, answering: Answering, recordings: Sequence[Array], opened: ExitStack) -> Chat:
        args = self._args
        inbox: Inbox = queue.SimpleQueue()
        playback = self._playback = Playback(inbox.put, round(JITTER_S * RATE_HZ))
        keyboard = None
        if not recordings:
            keyboard = opened.enter_context(Keyboard(inbox.put, sys.stdout.isatty()))
        view: View = Screen() if keyboard is not None and keyboard.is_raw else PlainView()
        opened.callback(view.close)
        settings = Settings(args.voice, args.system, answering.speaks, self._pauses())
        self._dialog = Dialog(
            answering.transport, settings, playback, view, inbox.put,
            paced=not (recordings and args.fast),
            record=Record(MOST_SAMPLES if args.output is None else math.inf),
        )  # fmt: skip
        opened.callback(self._dialog.close)
        sounds, self._script = self._devices(recordings, inbox, answering.speaks)
        for sound in sounds:
            opened.callback(sound.close)
        is_half = args.duplex == "half" and not recordings  # files have no echo
        lines = help_lines(self._hands_free, self._hears)
        return Chat(
            self._dialog, inbox, view, sounds, Mute(playback, is_half),
            Orders(self._dialog, view, answering.clip, lines),
            self._script, self._hears and args.push_to_talk,
            waits=keyboard is None or not keyboard.is_terminal,
        )  # fmt: skip

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def outcome(self) -> int:
        """Writes what was heard and says what is missing; returns the exit code."""
        code = 0
        output = self._args.output
        if output is not None:
            sounds = [turn.sound for turn in self._dialog.record.turns if turn.sound.size]
            if sounds:
                write_wav(output, np.concatenate(sounds), RATE_HZ)
            else:
                say(f"[{output} was not written, nothing was said]")
                code = 1
        for name in self._script.unheard if self._script is not None else ():
            say(f"[{name}: no speech was found in it]")
            code = 1
        return 2 if self._script is not None and self._dialog.faults else code

    def _devices(
        self, recordings: Sequence[Array], inbox: Inbox, speaks: bool
    ) -> tuple[list[Sound], Script | None]:
        args = self._args
        sounds: list[Sound] = []
        script = None
        plays = speaks and args.output is None
        if recordings or not plays:
            silence = args.pause / 1000 + SETTLE_S if recordings and self._hands_free else 0.0
            pulled = None if plays else self._playback
            tape = Tape(recordings, silence, pulled, inbox.put, not args.fast)
            sounds.append(tape)
            if recordings:
                names = [str(path) for path in args.input]
                script = Script(tape, names, args.push_to_talk)
        if plays:
            sounds.append(Speaker(args.speaker, self._playback, inbox.put))
        if not recordings and not args.no_microphone:
            sounds.append(Microphone(args.microphone, inbox.put))
        return sounds, script

    def _pauses(self) -> Pauses | None:
        if not self._hands_free:
            return None
        return Pauses(threshold=self._args.threshold, silence_ms=self._args.pause)
